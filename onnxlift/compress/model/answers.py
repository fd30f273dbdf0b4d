"""A model's answers to the held-out samples: the judged output whole, of the others a glance.

Answers are one array with the samples first. Where the shapes of the judged ones differ they are an
object array [samples] whose elements are arrays, on disk flat values with their shapes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from onnxlift.arrays import save_arrays
from onnxlift.compress.model.batch import EVERYWHERE, Batch
from onnxlift.compress.model.samples import Array
from onnxlift_runtime.errors import SamplesInvalid
from onnxlift_runtime.manifest import TensorSpec
from onnxlift_runtime.tensors.arrays import bfloat16_to_float32

Answers: TypeAlias = Mapping[str, Array]
"""Outputs by name, each [samples, ...]."""

_NAMES: Final = "names"
_SHAPES: Final = ".shapes"
# Values of one sample that are kept of an output that is looked at but not judged.
_GLANCE: Final = 2**14


def join_answers(
    results: Iterable[Mapping[str, Array]],
    outputs: Sequence[TensorSpec],
    judged: str,
    count: int,
    batch: Batch = EVERYWHERE,
) -> Answers:
    """Join the outputs of runs whose rows are ``count`` samples in order.

    Outputs other than ``judged`` are thinned to 16,384 values a sample, cut to the shortest where
    runs differ, and left out where their rows are not the samples. Raises ``SamplesInvalid`` where
    the judged output's are not.
    """
    specs = {spec.name: spec for spec in outputs}
    runs: dict[str, list[Array]] = {spec.name: [] for spec in outputs}
    for result in results:
        for name, array in result.items():
            rows = _rows_first(_comparable(array, specs[name]), specs[name], batch.axis(name))
            runs[name].append(rows if name == judged else _thinned(rows))
    found = {}
    for name, parts in runs.items():
        joined = _whole(parts) if name == judged else _joined(parts)
        if len(joined) == count:
            found[name] = joined
        elif name == judged:
            raise SamplesInvalid(f"output {judged!r} has {len(joined)} rows for {count} samples")
    return found


def is_uneven(answers: Array) -> bool:
    """Whether there is one array for each sample."""
    return answers.dtype == object


def together(answers: Sequence[Array]) -> Array:
    """One array where all have one shape."""
    if len({np.shape(answer) for answer in answers}) == 1:
        return np.stack(answers)
    uneven = np.empty(len(answers), dtype=object)
    for place, answer in enumerate(answers):
        uneven[place] = np.asarray(answer)
    return uneven


def save_answers(path: Path, answers: Answers) -> None:
    """Write what ``load_answers`` reads; output names may be anything."""
    arrays: dict[str, Array] = {_NAMES: np.array(list(answers))}
    for index, array in enumerate(answers.values()):
        arrays |= _to_arrays(str(index), array)
    save_arrays(path, arrays)


def load_answers(path: Path) -> Answers:
    """Read what ``save_answers`` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return {
            str(name): _from_arrays(str(index), stored) for index, name in enumerate(stored[_NAMES])
        }


def _rows_first(array: Array, spec: TensorSpec, axis: int | None) -> Array:
    """A result with its samples in front; one without rows is one sample, without a first dimension
    that the model fixes at 1.
    """
    if axis is not None and axis < array.ndim:
        return np.moveaxis(array, axis, 0)
    return array if spec.shape[:1] == (1,) and array.shape[:1] == (1,) else array[np.newaxis]


def _whole(runs: Sequence[Array]) -> Array:
    if len({array.shape[1:] for array in runs}) == 1:
        return np.concatenate(runs)
    return together([row for array in runs for row in array])


def _thinned(array: Array) -> Array:
    """Every second value along the longest axis, until few enough are left."""
    while math.prod(array.shape[1:]) > _GLANCE:
        axis = max(range(1, array.ndim), key=lambda axis: array.shape[axis])
        array = array[(slice(None),) * axis + (slice(None, None, 2),)]
    return array


def _joined(runs: Sequence[Array]) -> Array:
    shapes = {array.shape[1:] for array in runs}
    if len({len(shape) for shape in shapes}) != 1:
        return np.empty(0)
    cut = tuple(slice(min(sizes)) for sizes in zip(*shapes, strict=True))
    return np.concatenate([array[(slice(None), *cut)] for array in runs])


def _comparable(answers: Array, spec: TensorSpec) -> Array:
    """A result in a type that files hold and metrics compare."""
    if answers.dtype == object:
        return answers.astype(np.bytes_)
    return bfloat16_to_float32(answers) if spec.datatype == "BF16" else answers


def _to_arrays(name: str, answers: Array) -> dict[str, Array]:
    """Answers as plain arrays for an .npz file."""
    if not is_uneven(answers):
        return {name: answers}
    shapes = np.full((len(answers), max(answer.ndim for answer in answers)), -1, np.int64)
    for row, answer in zip(shapes, answers, strict=True):
        row[: answer.ndim] = answer.shape
    flat = np.concatenate([answer.reshape(-1) for answer in answers])
    return {name: flat, name + _SHAPES: shapes}


def _from_arrays(name: str, stored: Mapping[str, Array]) -> Array:
    """What ``_to_arrays`` wrote."""
    if name + _SHAPES not in stored:
        return stored[name]
    shapes = [tuple(row[row >= 0].tolist()) for row in stored[name + _SHAPES]]
    sizes = [int(np.prod(shape, dtype=np.int64)) for shape in shapes]
    pieces = np.split(stored[name], np.cumsum(sizes)[:-1])
    uneven = np.empty(len(shapes), dtype=object)
    for place, (piece, shape) in enumerate(zip(pieces, shapes, strict=True)):
        uneven[place] = piece.reshape(shape)
    return uneven
