"""One model in one process: compressed, quantized by onnxruntime's own tools, and compared."""

import logging
import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static

from benchmarks.models.sound import Feed, Run
from benchmarks.models.subjects import CALIBRATION, Subject
from onnxlift.compress.measure.measurement import race
from onnxlift.compress.model.batch import Batch
from onnxlift.compress.model.samples import load_samples
from onnxlift.compress.pipeline import compress
from onnxlift.compress.search.outcome import Outcome
from onnxlift.config import Config
from onnxlift_runtime.dataplane.session import Session
from onnxlift_runtime.errors import OnnxliftError
from onnxlift_runtime.manifest import Manifest

MAX_SLOWDOWN: Final = 1.1
_ROUNDS: Final = 5
_SAID: Final = 160  # characters of another tool's error


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Iterator[Feed]) -> None:
        self._feeds = feeds

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def compare(subject: Subject, recipe: str, budget_s: float) -> dict[str, Any]:
    """The subject's row of results.json."""
    logging.disable(logging.WARNING)
    row: dict[str, Any] = {"model": subject.name, "bytes": subject.path.stat().st_size}
    row |= {
        "budget_s": budget_s,
        "quality": subject.quality,
        "allowed": subject.allowed,
        "goal": subject.goal,
    }
    with TemporaryDirectory(prefix="onnxlift-models-") as name:
        folder = Path(name)
        calibration, held_out = subject.store(folder)
        config = _config(subject, folder, calibration, held_out)
        started = perf_counter()
        try:
            outcome = compress(config, subject.name, lambda _: None, recipe, budget_s)
        except OnnxliftError as error:
            return {**row, "refused": f"{type(error).__name__}: {error}"}
        row |= {"seconds": round(perf_counter() - started), "peak_mb": _peak_mb()}
        row |= {"recipe": outcome.manifest.recipe, "notes": list(outcome.report.notes)}
        row["candidates"] = _told(outcome)
        row["results"] = _results(subject, folder, held_out, outcome)
    return row


def _config(subject: Subject, folder: Path, calibration: Path, held_out: Path) -> Config:
    model = {
        "source": subject.path,
        "max_slowdown": MAX_SLOWDOWN,
        "calibration": {"samples": calibration},
        "quality": {"samples": held_out, "batch_size": 8, **subject.gate},
    }
    tables = {"service": "models", "models": {subject.name: model}}
    return Config.model_validate(
        {**tables, "artifacts": folder / "artifacts", "cache": folder / "cache"}
    )


def _peak_mb() -> int:
    """The largest process of the search, this one among them, in MiB."""
    who = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return max(resource.getrusage(item).ru_maxrss for item in who) // 1024


def _told(outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {"recipe": row.recipe, "status": row.status, "reason": row.reason, "bytes": row.size_bytes,
         "slowdown": row.slowdown, "seconds": row.seconds}
        for row in outcome.candidates
    ]  # fmt: skip


def _quantized(
    subject: Subject, folder: Path, manifest: Manifest
) -> Iterator[tuple[str, Callable[[], Path]]]:
    """What makes each of the others: fp32's folder, and those of onnxruntime's own tools."""
    file = manifest.model_file

    def made(name: str, tool: Callable[[Path], object]) -> Path:
        (folder / name).mkdir()
        tool(folder / name / file)
        return folder / name

    source = made("fp32", partial(shutil.copy, subject.path)) / file
    yield "fp32", lambda: source.parent
    yield "quantize_dynamic", lambda: made("dynamic", partial(quantize_dynamic, source))
    reader = _Reader(iter(subject.feeds(subject.path, CALIBRATION)))
    static = partial(quantize_static, source, calibration_data_reader=reader)
    yield "quantize_static", lambda: made("static", static)


def _results(
    subject: Subject, folder: Path, held_out: Path, outcome: Outcome
) -> dict[str, dict[str, Any] | str]:
    """Size, score and p50 of each by name, or in words why there are none."""
    manifest, found, runs = outcome.manifest, dict[str, Any](), dict[str, Run]()
    plain = replace(manifest, optimize_at_load=True, session_options={})
    ready: dict[str, tuple[Path, Manifest]] = {}
    ours = "onnxlift", lambda: outcome.folder
    for name, make in (*_quantized(subject, folder, plain), ours):
        item = manifest if name == "onnxlift" else plain
        try:
            place = make()
            runs[name] = _run(place, item)
            score = subject.score(subject.path, runs["fp32"], runs[name])
        except Exception as error:  # whatever a tool raises is its result
            found[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:_SAID]}"
            continue
        size = (place / item.model_file).stat().st_size
        found[name] = {"bytes": manifest.size_bytes if item is manifest else size, "score": score}
        ready[name] = place, item
    samples = load_samples(held_out, manifest.inputs, batch=Batch.of_manifest(manifest))
    times = np.array([race(list(ready.values()), samples, 1) for _ in range(_ROUNDS)])
    for name, ratio in zip(ready, np.median(times / times[:, :1], axis=0), strict=True):
        found[name]["p50_ratio"] = round(float(ratio), 3)
    return found


def _run(folder: Path, manifest: Manifest) -> Run:
    session = Session(folder, manifest, threads=1, verify=False)
    outputs = [spec.name for spec in manifest.outputs]
    return lambda feed: session.run(feed, outputs)
