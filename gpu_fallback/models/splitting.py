"""A batch that does not fit the device's memory in portions that do: halves, down to single
rows.
"""

from collections.abc import Callable, Mapping

import numpy as np

from onnxlift_runtime.errors import MemoryExhausted
from onnxlift_runtime.tensors.arrays import Array

Arrays = Mapping[str, Array]
RunRows = Callable[[Arrays], dict[str, Array]]
AxisOf = Callable[[str], int | None]


def run_in_portions(
    feeds: Arrays, limit: int, run: RunRows, axis_of: AxisOf = lambda _: 0
) -> tuple[dict[str, Array], int]:
    """Run at most ``limit`` rows of ``feeds`` at once, half as many after each ``MemoryExhausted``;
    0 is no limit.

    ``axis_of`` gives the dimension of an input or output that counts the rows, None where it has
    none. Returns the answers, in one piece again, and the limit that turned out to hold. Raises
    what ``run`` raises, and ``MemoryExhausted`` where one row is too much or the answers cannot be
    put together by rows.
    """
    total = _rows(feeds, axis_of)
    while True:
        rows = min(limit or total, total)
        try:
            return _run(feeds, total, rows, run, axis_of), limit
        except MemoryExhausted:
            if rows < 2:
                raise
            limit = -(-rows // 2)


def _run(feeds: Arrays, total: int, rows: int, run: RunRows, axis_of: AxisOf) -> dict[str, Array]:
    if rows >= total:
        return run(feeds)
    starts = range(0, total, rows)
    ends = [min(start + rows, total) for start in starts]
    answers = [
        _portion(feeds, start, end, run, axis_of) for start, end in zip(starts, ends, strict=True)
    ]
    return {
        name: np.concatenate([answer[name] for answer in answers], axis_of(name) or 0)
        for name in answers[0]
    }


def _portion(
    feeds: Arrays, start: int, end: int, run: RunRows, axis_of: AxisOf
) -> dict[str, Array]:
    answer = run({name: _cut(array, axis_of(name), start, end) for name, array in feeds.items()})
    for name, array in answer.items():
        axis = axis_of(name)
        if axis is None or array.ndim <= axis or array.shape[axis] != end - start:
            raise MemoryExhausted(
                f"the batch is too large, and output {name!r} does not tell which rows are whose"
            )
    return answer


def _cut(array: Array, axis: int | None, start: int, end: int) -> Array:
    return array if axis is None else array[(slice(None),) * axis + (slice(start, end),)]


def _rows(feeds: Arrays, axis_of: AxisOf) -> int:
    """The rows that all inputs have; 1 where they differ, so that nothing is cut."""
    axes = {name: axis_of(name) for name in feeds}
    counts = {
        array.shape[axis] if array.ndim > axis else 1
        for name, array in feeds.items()
        if (axis := axes[name]) is not None
    }
    return counts.pop() if len(counts) == 1 else 1
