"""How close a model's embeddings are to those of fp32, here and on other instruction sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.compression.minilm import OUTPUT
from onnxlift.compress.cpu.instructions import InstructionSet, available
from onnxlift.compress.cpu.process import run_on

_RESAMPLES: Final = 2000
_EMULATED: Final = 60  # an emulated CPU is slow
_SETS: Final = (InstructionSet.AVX2, InstructionSet.VNNI, InstructionSet.NEOVERSE_N1)

Feeds = Sequence[Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Closeness:
    """1 - cosine on average with its 95 % bootstrap interval, the least cosine, and shared nearest
    neighbours.
    """

    loss: float
    low: float
    high: float
    least_cosine: float
    neighbours: float


def embed_everywhere(
    model: Path, feeds: Feeds, *, emulate: bool
) -> dict[InstructionSet, np.ndarray]:
    """Embeddings [sentences, 384] on every instruction set that can be reached from here; on an
    emulated one of 60.
    """
    found = {}
    for instructions in _SETS:
        road = available(instructions)
        if road and (emulate or road.road != "emulated"):
            part = feeds[:_EMULATED] if road.road == "emulated" else feeds
            found[instructions] = np.concatenate(
                [out[OUTPUT] for out in run_on(instructions, model, part)]
            )
    return found


def compare(expected: np.ndarray, found: np.ndarray) -> Closeness:
    """Compare embeddings [sentences, width] one by one; ``found`` may hold only the first of
    them.
    """
    expected = expected[: len(found)]
    loss = 1 - cosines(expected, found)
    random = np.random.default_rng(0)
    means = [random.choice(loss, len(loss)).mean() for _ in range(_RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    neighbours = float(np.mean(_nearest(expected) == _nearest(found)))
    return Closeness(float(loss.mean()), float(low), float(high), float(1 - loss.max()), neighbours)


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The cosine of each pair of rows, float64."""
    wide, other = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(other, axis=1)
    found: np.ndarray = (wide * other).sum(axis=1) / lengths
    return found


def _nearest(embeddings: np.ndarray) -> np.ndarray:
    similar = embeddings @ embeddings.T
    np.fill_diagonal(similar, -np.inf)
    nearest: np.ndarray = similar.argmax(axis=1)
    return nearest
