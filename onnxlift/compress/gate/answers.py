"""Answers to samples: one array with the samples first, or where their shapes differ one array for
each sample.

The latter is an object array [samples] whose elements are arrays; on disk it is flat values with
their shapes, so that nothing is pickled.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from onnxlift_runtime.manifest import TensorSpec

Array = np.ndarray[Any, np.dtype[Any]]

_SHAPES: Final = ".shapes"


def is_uneven(answers: Array) -> bool:
    """Whether there is one array for each sample."""
    return answers.dtype == object


def gather(results: Iterable[Array], spec: TensorSpec, axis: int | None) -> Array:
    """The answers in the results of some runs: rows on ``axis``, or where there is none each result
    is one answer.

    A first dimension that the model fixes at 1 is no part of such an answer.
    """
    if axis is not None:
        parts = [np.moveaxis(result, axis, 0) for result in results]
        if len({part.shape[1:] for part in parts}) == 1:
            return np.concatenate(parts)
        return together([row for part in parts for row in part])
    single = spec.shape[:1] == (1,)
    return together([result[0] if single else result for result in results])


def together(answers: Sequence[Array]) -> Array:
    """One array where all have one shape."""
    if len({np.shape(answer) for answer in answers}) == 1:
        return np.stack(answers)
    uneven = np.empty(len(answers), dtype=object)
    for place, answer in enumerate(answers):
        uneven[place] = np.asarray(answer)
    return uneven


def to_arrays(name: str, answers: Array) -> dict[str, Array]:
    """Answers as plain arrays for an .npz file."""
    if not is_uneven(answers):
        return {name: answers}
    shapes = np.full((len(answers), max(answer.ndim for answer in answers)), -1, np.int64)
    for row, answer in zip(shapes, answers, strict=True):
        row[: answer.ndim] = answer.shape
    flat = np.concatenate([answer.reshape(-1) for answer in answers])
    return {name: flat, name + _SHAPES: shapes}


def from_arrays(name: str, stored: Mapping[str, Array]) -> Array:
    """What ``to_arrays`` wrote."""
    if name + _SHAPES not in stored:
        return stored[name]
    shapes = [tuple(row[row >= 0].tolist()) for row in stored[name + _SHAPES]]
    sizes = [int(np.prod(shape, dtype=np.int64)) for shape in shapes]
    pieces = np.split(stored[name], np.cumsum(sizes)[:-1])
    uneven = np.empty(len(shapes), dtype=object)
    for place, (piece, shape) in enumerate(zip(pieces, shapes, strict=True)):
        uneven[place] = piece.reshape(shape)
    return uneven
