"""A model's answers to the held-out samples: the judged output whole, of the others a glance."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from onnxlift.compress.model.samples import Array
from onnxlift_runtime.errors import SamplesInvalid
from onnxlift_runtime.manifest import TensorSpec
from onnxlift_runtime.tensors.arrays import bfloat16_to_float32

Answers: TypeAlias = Mapping[str, Array]
"""Outputs by name, each [samples, ...]."""

_NAMES: Final = "names"
# Values of one sample that are kept of an output that is looked at but not judged.
_GLANCE: Final = 2**14


def join_answers(
    results: Iterable[Mapping[str, Array]], outputs: Sequence[TensorSpec], judged: str, count: int
) -> Answers:
    """Join the outputs of runs whose rows are ``count`` samples in order.

    Outputs other than ``judged`` are thinned to 16,384 values a sample, cut to the shortest where
    runs differ, and left out where their rows are not the samples. Raises ``SamplesInvalid`` where
    the judged output's are not.
    """
    runs: dict[str, list[Array]] = {spec.name: [] for spec in outputs}
    for result in results:
        for name, array in result.items():
            runs[name].append(array if name == judged else _thinned(array))
    found = {}
    for spec in outputs:
        alike = spec.name == judged or len({array.ndim for array in runs[spec.name]} - {0}) == 1
        joined = _joined(runs[spec.name]) if alike else np.empty(0)
        if len(joined) == count:
            found[spec.name] = _comparable(joined, spec.datatype)
        elif spec.name == judged:
            raise SamplesInvalid(f"output {judged!r} has {len(joined)} rows for {count} samples")
    return found


def save_answers(path: Path, answers: Answers) -> None:
    """Write what ``load_answers`` reads; output names may be anything."""
    arrays = {str(index): array for index, array in enumerate(answers.values())}
    np.savez(path, **{_NAMES: np.array(list(answers)), **arrays})  # type: ignore[arg-type]


def load_answers(path: Path) -> Answers:
    """Read what ``save_answers`` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return {str(name): stored[str(index)] for index, name in enumerate(stored[_NAMES])}


def _thinned(array: Array) -> Array:
    """Every second value along the longest axis, until few enough are left."""
    while math.prod(array.shape[1:]) > _GLANCE:
        axis = max(range(1, array.ndim), key=lambda axis: array.shape[axis])
        array = array[(slice(None),) * axis + (slice(None, None, 2),)]
    return array


def _joined(runs: Sequence[Array]) -> Array:
    shapes = {array.shape[1:] for array in runs}
    if len(shapes) > 1 and len({len(shape) for shape in shapes}) == 1:
        cut = tuple(slice(min(sizes)) for sizes in zip(*shapes, strict=True))
        runs = [array[(slice(None), *cut)] for array in runs]
    return np.concatenate(runs)


def _comparable(answers: Array, kind: str) -> Array:
    if answers.dtype == object:
        return answers.astype(np.bytes_)
    return bfloat16_to_float32(answers) if kind == "BF16" else answers
