"""What is compressed: each model with its samples, its gate, and the name of its quality."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from benchmarks.models import pictures, scores, sound
from benchmarks.models.sound import Array, Feed, Rng, Run

CALIBRATION, _HELD_OUT, _JUDGED = 11, 22, 33  # seeds
_RATE: Final = 16000


@dataclass(frozen=True)
class Subject:
    """One model: ``goal`` is the largest share of its size, ``gate`` the table ``quality``.

    ``feeds`` makes so many samples from a seed and the model's file; ``score`` is the quality of a
    compressed model beside the fp32 model, on inputs that neither calibrated nor gated it.
    ``allowed`` is its largest loss.
    """

    name: str
    path: Path
    goal: float
    gate: Mapping[str, Any]
    quality: str
    allowed: float
    feeds: Callable[[Path, int], Sequence[Feed]]
    score: Callable[[Path, Run, Run], float]

    def store(self, folder: Path) -> tuple[Path, Path]:
        """Write the samples for calibration and for the gate."""
        paths = folder / "calibration.npz", folder / "held-out.npz"
        for path, seed in zip(paths, (CALIBRATION, _HELD_OUT), strict=True):
            np.savez(path, **dict(_columns(self.feeds(self.path, seed))))  # type: ignore[arg-type]
        return paths


def subject(name: str, path: Path) -> Subject:
    """What to do with the file of this name."""
    kind = next((kind for kind in _PICTURES if kind in name), "")
    if not kind:
        gate = {"metric": "mean_absolute_error", "max_error": 0.01}
        measure = "probability error"
        return Subject(name, path, 0.32, gate, measure, 0.01, _frames, _probability_error)
    goal, measure, metric, draw = _PICTURES[kind]

    def feeds(_path: Path, seed: int) -> list[Feed]:
        return [{"x": picture} for picture in draw(np.random.default_rng(seed))]

    def score(path: Path, fp32: Run, compressed: Run) -> float:
        answers = [
            np.concatenate([next(iter(run(feed).values())) for feed in feeds(path, _JUDGED)])
            for run in (fp32, compressed)
        ]
        return float(metric(*answers, None).mean())

    gate = {"metric": f"benchmarks.models.scores:{metric.__name__}", "max_drop": 0.02}
    return Subject(name, path, goal, gate, measure, 0.02, feeds, score)


def _pages(rng: Rng) -> list[Array]:
    return [pictures.page(rng, 320, 320) for _ in range(24)]


def _lines(rng: Rng) -> list[Array]:
    return [pictures.line(rng, 48, 320) for _ in range(64)]


def _turned(rng: Rng) -> list[Array]:
    return [pictures.line(rng, 48, 192, turned=index % 2 > 0) for index in range(160)]


_PICTURES: Final[Mapping[str, tuple[float, str, Any, Callable[[Rng], list[Array]]]]] = {
    "_det_": (0.32, "detection map's IoU", scores.map_iou, _pages),
    "_rec_": (0.32, "character accuracy", scores.character_accuracy, _lines),
    "_cls_": (0.4, "class agreement", scores.class_agreement, _turned),
}


def _frames(path: Path, seed: int) -> list[Feed]:
    """Every fourth frame of the streams, with the state that fp32 had; a sequence is one sample."""
    session = ort.InferenceSession(path)
    outputs = [item.name for item in session.get_outputs()]

    def run(feed: Feed) -> Feed:
        return dict(zip(outputs, session.run(outputs, feed), strict=True))

    feeds = [feed for feed, _ in _streams(path, run, seed, 6)]
    return feeds if "h" in feeds[0] else feeds[::4]


def _probability_error(path: Path, fp32: Run, compressed: Run) -> float:
    """Mean absolute error over streams in which each model goes on with its own state."""
    found = [
        np.concatenate([answer for _, answer in _streams(path, run, _JUDGED, 10)])
        for run in (fp32, compressed)
    ]
    return float(np.abs(found[0] - found[1]).mean())


def _streams(path: Path, run: Run, seed: int, seconds: float) -> Iterator[tuple[Feed, Array]]:
    """Four voices; where the model was made for two rates, one of them at the lower."""
    inputs = [item.name for item in ort.InferenceSession(path).get_inputs()]
    lower = "sr" in inputs and "16k" not in path.stem
    rng = np.random.default_rng(seed)
    for rate in (_RATE, _RATE, _RATE, _RATE // 2 if lower else _RATE):
        yield from sound.stream(run, inputs, sound.speech(rng, seconds, rate), rate)


def _columns(feeds: Sequence[Feed]) -> Iterator[tuple[str, Array]]:
    """The arrays of a .npz file: one for each input, or for each sample where shapes differ."""
    for name in feeds[0]:
        column = [feed[name] for feed in feeds]
        if len({array.shape for array in column}) == 1:
            yield name, np.stack(column)
        else:
            yield from ((f"{name}.{row}", array) for row, array in enumerate(column))
