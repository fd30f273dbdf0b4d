"""Compress the models that ``train`` made without training them again: ``python -m
benchmarks.digits.measure OUT``.

Steps see training images alone, without their classes. Prints one row for each recipe: test
accuracy lost in points (mean and worst seed), stored and gzipped size, and how many times faster
than fp32 in the same run, one thread.
"""

import gzip
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort
from rich.console import Console
from rich.table import Table

from onnxlift.compress.steps import Context, Step
from onnxlift.compress.steps.clean import Clean
from onnxlift.compress.steps.int8_static import Int8Static
from onnxlift.compress.steps.prune import Prune
from onnxlift.compress.steps.prune_structured import PruneStructured

CALIBRATION: Final = 512
THIRD: Final = 1 / 3
INT8: Final = (Clean(), Int8Static())
RECIPES: Final[dict[str, tuple[Step, ...]]] = {
    "fp32": (),
    "int8": INT8,
    "prune 80 %, no reconstruction": (Prune(0.8, reconstruct=False),),
    "prune 80 %": (Prune(0.8),),
    "prune 80 % + int8": (Prune(0.8), *INT8),
    "prune 90 % + int8": (Prune(0.9), *INT8),
    "prune 95 % + int8": (Prune(0.95), *INT8),
    "structured 1/3, no reconstruction": (PruneStructured(THIRD, "l2", reconstruct=False),),
    "structured 1/3": (PruneStructured(THIRD),),
    "structured 1/3, every layer": (PruneStructured(THIRD, scope="layer"),),
    "structured 2/3": (PruneStructured(2 / 3),),
    "structured 1/3 + prune 80 % + int8": (PruneStructured(THIRD), Prune(0.8), *INT8),
}
RUNS: Final = {1: 2000, 32: 300}
ROUNDS: Final = 5


@dataclass(frozen=True)
class Row:
    """What one recipe made of one seed's model, beside the fp32 model; sizes in bytes."""

    lost_points: float
    removed: float
    size: int
    gzipped: int
    speedup: dict[int, float]


def main() -> None:
    """Apply every recipe to every seed's model and print the table."""
    folder = Path(sys.argv[1])
    names = sys.argv[2:] or list(RECIPES)
    table = Table(
        "recipe",
        "points lost, mean (worst)",
        "weights",
        "KB",
        "KB gzipped",
        "× fp32, batch 1",
        "batch 32",
    )
    seeds = sorted(int(path.stem.removeprefix("seed-")) for path in folder.glob("seed-*.onnx"))
    for name in names:
        table.add_row(name, *_cells([_row(folder, seed, RECIPES[name]) for seed in seeds]))
    Console(width=140).print(table)


def _row(folder: Path, seed: int, steps: Sequence[Step]) -> Row:
    model = onnx.load(folder / f"seed-{seed}.onnx")
    data = np.load(folder / f"seed-{seed}.npz")
    changed, context = model, Context({"pixels": data["train"][:CALIBRATION]})
    for step in steps:
        changed = step.apply(changed, context)
    stored = changed.SerializeToString(deterministic=True)
    before, after = _session(model), _session(changed)
    lost = 100 * (_accuracy(before, data) - _accuracy(after, data))
    speedup = {rows: _speedup(before, after, data["test"][:rows]) for rows in RUNS}
    removed = 1 - _parameters(changed) / _parameters(model)
    return Row(lost, removed, len(stored), len(gzip.compress(stored, 9, mtime=0)), speedup)


def _cells(rows: Sequence[Row]) -> list[str]:
    def mean(values: Sequence[float]) -> float:
        return float(np.mean(values))

    return [
        f"{mean([row.lost_points for row in rows]):.2f} "
        f"({max(row.lost_points for row in rows):.2f})",
        f"-{mean([row.removed for row in rows]):.0%}",
        f"{mean([row.size for row in rows]) / 1000:.1f}",
        f"{mean([row.gzipped for row in rows]) / 1000:.1f}",
        *(f"{mean([row.speedup[size] for row in rows]):.2f}" for size in RUNS),
    ]


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _accuracy(session: ort.InferenceSession, data: np.lib.npyio.NpzFile) -> float:
    scores = session.run(None, {"pixels": data["test"]})[0]
    return float((scores.argmax(axis=1) == data["labels"]).mean())


def _parameters(model: onnx.ModelProto) -> int:
    """The numbers in matrices and kernels; scales and zero points of int8 are not counted."""
    return sum(
        int(np.prod(tensor.dims)) for tensor in model.graph.initializer if len(tensor.dims) > 1
    )


def _speedup(
    before: ort.InferenceSession, after: ort.InferenceSession, pixels: np.ndarray
) -> float:
    """The ratio of median latencies, measured in turns so that a busy machine slows both alike."""
    ratios = [_median_s(before, pixels) / _median_s(after, pixels) for _ in range(ROUNDS)]
    return float(np.median(ratios))


def _median_s(session: ort.InferenceSession, pixels: np.ndarray) -> float:
    took = []
    for _ in range(RUNS[len(pixels)] // ROUNDS):
        started = perf_counter()
        session.run(None, {"pixels": pixels})
        took.append(perf_counter() - started)
    return float(np.median(took))


if __name__ == "__main__":
    main()
