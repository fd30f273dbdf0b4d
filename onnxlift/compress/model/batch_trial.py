"""Two runs of a model with other rows beside each other: which outputs follow the rows, and whether
a row's answer depends on that row alone.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from onnxlift.columns import Array, Column
from onnxlift.compress.model.signature import Signature
from onnxlift.compress.model.values import Ranges, make_values
from onnxlift_runtime.errors import DatatypeMismatch
from onnxlift_runtime.manifest import TensorSpec
from onnxlift_runtime.tensors.datatypes import datatype

_TOLERANCE: Final = 1e-3  # of the largest value: another number of rows is summed in another order
_EQUAL: Final = 0.95
_FATAL_ONLY: Final = 4
_SIZES: Final = (8, 64, 1, 16, 512)  # tried in turn for dimensions of any size
_DRAWS: Final = 3
_ROWS: Final = 3

Rows = Callable[[TensorSpec, int | None], Array]
"""An input's rows, on its axis; without one, the value that all rows share."""


class Finding(Enum):
    """What the runs show."""

    FOLLOWS = "at least one output has a row for each row, and none mixes them"
    MIXES = "the answer to a row depends on the rows beside it"
    APART = "no output has a row for each row"
    SINGLE = "one row runs, more do not"
    UNKNOWN = "nothing runs"


@dataclass(frozen=True)
class Trial:
    """``axes`` are the outputs that follow, by their axis; ``ranks`` how many dimensions every
    output had.
    """

    finding: Finding
    axes: Mapping[str, int]
    ranks: Mapping[str, int]


def try_rows(session: Any, signature: Signature, axes: Mapping[str, int], rows: Rows) -> Trial:
    """Run three rows, then the third and the first of them, and compare."""
    feed = {spec.name: rows(spec, axes.get(spec.name)) for spec in signature.inputs}
    three = _run(session, feed)
    if three is None:
        one = _run(session, _picked(feed, axes, [0]))
        ranks = {} if one is None else {name: array.ndim for name, array in one.items()}
        return Trial(Finding.SINGLE if one else Finding.UNKNOWN, {}, ranks)
    two = _run(session, _picked(feed, axes, [2, 0])) or {}
    ranks = {name: array.ndim for name, array in three.items()}
    found: dict[str, int] = {}
    mixes = not two
    for name in two:
        axis, same = _axis(three[name], two[name])
        if axis is not None and same:
            found[name] = axis
        mixes = mixes or (axis is not None and not same)
    if mixes:
        again = _run(session, feed) or {}
        steady = all(_close(array, again[name]) for name, array in three.items() if name in again)
        return Trial(Finding.MIXES if steady else Finding.UNKNOWN, {}, ranks)
    return Trial(Finding.FOLLOWS if found else Finding.APART, found, ranks)


def keeps_rows_apart(
    session: Any, axes: Mapping[str, int], feed: Mapping[str, Array]
) -> Mapping[str, int] | None:
    """Replace all rows of a fixed batch except the first: the axes of the outputs whose other rows
    alone change; None where the first one changes too.
    """
    others = {
        name: _replaced(array, axes[name]) if name in axes else array
        for name, array in feed.items()
    }
    before, after = _run(session, feed), _run(session, others)
    if before is None or after is None:
        return None
    counts = {feed[name].shape[axis] for name, axis in axes.items()}
    found = {}
    for name, array in before.items():
        fitting = [axis for axis, size in enumerate(array.shape) if {size} == counts]
        if not fitting or array.shape != after[name].shape:
            continue
        same = [axis for axis in fitting if _close(array.take(0, axis), after[name].take(0, axis))]
        if not same:
            return None
        found[name] = same[0]
    return found


def from_samples(stored: Mapping[str, Column]) -> Rows:
    """Rows of samples of one shape; raises ``ValueError`` where they are no rows on this axis."""
    picked = _of_one_shape(stored)

    def rows(spec: TensorSpec, axis: int | None) -> Array:
        column = stored[spec.name]
        if axis is None:
            return _typed(_shared(column, spec), spec)
        column, taken = column if isinstance(column, tuple) else np.atleast_1d(column), []
        for row in range(_ROWS):
            sample = np.asarray(column[picked[row % len(picked)] % len(column)])
            # One that comes again is turned, so that the rows differ.
            turned = np.roll(sample, row // len(picked), -1) if sample.ndim else sample
            taken.append(_row(turned, spec, axis))
        return _typed(np.stack(taken, axis), spec)

    return rows


def _of_one_shape(stored: Mapping[str, Column]) -> list[int]:
    """Samples of the shape that most of them have, three at most."""
    uneven = [column for column in stored.values() if isinstance(column, tuple)]
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for row in range(min(map(len, uneven), default=0)):
        groups.setdefault(tuple(column[row].shape for column in uneven), []).append(row)
    return max(groups.values(), key=len, default=list(range(_ROWS)))[:_ROWS]


def generated(signature: Signature, ranges: Ranges) -> Iterator[Rows]:
    """Random rows, with several sizes for dimensions of any size."""
    for size in _SIZES:
        for seed in range(_DRAWS):
            yield _Generated(signature, ranges, size, seed).rows


@dataclass(frozen=True)
class _Generated:
    signature: Signature
    ranges: Ranges
    size: int
    seed: int

    def rows(self, spec: TensorSpec, axis: int | None) -> Array:
        """Random values in the input's datatype."""
        shape = [
            _ROWS if place == axis else self.size if size == -1 else size
            for place, size in enumerate(spec.shape)
        ]
        random = np.random.default_rng([self.seed, zlib.crc32(spec.name.encode())])
        return make_values(spec, shape, self.ranges, random)


def _run(session: Any, feed: Mapping[str, Array]) -> dict[str, Array] | None:
    names = [item.name for item in session.get_outputs()]
    plain = {name: _text(array) for name, array in feed.items()}
    options = ort.RunOptions()
    options.log_severity_level = _FATAL_ONLY  # a run that fails says something too
    try:
        results = session.run(names, plain, options)
    except Exception:  # onnxruntime's errors share no base class below Exception
        return None
    return dict(zip(names, map(np.asarray, results), strict=True))


def _text(array: Array) -> Array:
    if array.dtype != object:
        return array
    texts = [item.decode() if isinstance(item, bytes) else item for item in array.ravel().tolist()]
    return np.array(texts, dtype=object).reshape(array.shape)


def _picked(
    feed: Mapping[str, Array], axes: Mapping[str, int], rows: Sequence[int]
) -> dict[str, Array]:
    return {
        name: np.take(array, rows, axes[name]) if name in axes else array
        for name, array in feed.items()
    }


def _axis(three: Array, two: Array) -> tuple[int | None, bool]:
    """The axis on which an output follows the rows, and whether its rows are the same."""
    fitting = [
        axis
        for axis in range(three.ndim)
        if three.ndim == two.ndim
        and (three.shape[axis], two.shape[axis]) == (_ROWS, 2)
        and three.take([2, 0], axis).shape == two.shape
    ]
    same = [axis for axis in fitting if _close(three.take([2, 0], axis), two)]
    if same:
        return same[0], True
    grown = three.ndim == two.ndim and three.shape != two.shape
    squared = grown and sum(a != b for a, b in zip(three.shape, two.shape, strict=True)) > 1
    return (fitting[0], False) if fitting else (0, False) if squared else (None, False)


def _close(first: Array, second: Array) -> bool:
    if first.shape != second.shape:
        return False
    if first.dtype.kind != "f":  # the place of a maximum may change where two are almost equal
        return bool(np.mean(first == second) >= _EQUAL) if first.size else True
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    scale = max(1e-6, float(np.abs(first[np.isfinite(first)]).max(initial=0.0)))
    return bool(np.allclose(first, second, rtol=0, atol=_TOLERANCE * scale, equal_nan=True))


def _replaced(array: Array, axis: int) -> Array:
    """All rows except the first in reverse order, and other than they were."""
    rows = list(np.moveaxis(array, axis, 0))
    changed = [rows[0], *(np.roll(row, 1) for row in rows[:0:-1])]
    return np.ascontiguousarray(np.moveaxis(np.stack(changed), 0, axis))


def _row(array: Array, spec: TensorSpec, axis: int) -> Array:
    """One sample without its axis; a batch of one may be written."""
    if array.ndim == len(spec.shape) and array.shape[axis] == 1:
        array = array.take(0, axis)
    wanted = (*spec.shape[:axis], *spec.shape[axis + 1 :])
    if not _fits(array, wanted):
        raise ValueError(f"{spec.name}: no row of {spec.shape} on axis {axis}")
    return array


def _shared(column: Column, spec: TensorSpec) -> Array:
    """An array that all samples have in common, or the first sample's."""
    whole = [] if isinstance(column, tuple) else [column]
    if isinstance(column, tuple) or column.ndim:
        first = np.asarray(column[0])
        single = spec.shape[:1] == (1,) and first.ndim < len(spec.shape)
        whole.append(first[np.newaxis] if single else first)
    for array in whole:
        if _fits(array, spec.shape):
            return array
    raise ValueError(f"{spec.name}: no whole {spec.shape}")


def _typed(array: Array, spec: TensorSpec) -> Array:
    """In the input's datatype; what is stored in another is refused elsewhere."""
    found = datatype(spec.datatype)
    if found.name == "BF16":
        raise DatatypeMismatch("numpy knows no BF16")
    return array.astype(object if found.kind == "bytes" else found.numpy)


def _fits(array: Array, shape: Sequence[int]) -> bool:
    return array.ndim == len(shape) and all(
        want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
    )
