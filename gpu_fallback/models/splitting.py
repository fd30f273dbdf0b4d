"""A batch that does not fit the device's memory in portions that do: halves, down to single
rows.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from onnxlift_runtime.errors import MemoryExhausted
from onnxlift_runtime.tensors.arrays import Array

Arrays = Mapping[str, Array]
RunRows = Callable[[Arrays], dict[str, Array]]


def run_in_portions(feeds: Arrays, limit: int, run: RunRows) -> tuple[dict[str, Array], int]:
    """Run at most ``limit`` rows of ``feeds`` at once, half as many after each ``MemoryExhausted``;
    0 is no limit.

    Returns the answers, in one piece again, and the limit that turned out to hold. Raises what
    ``run`` raises, and ``MemoryExhausted`` where one row is too much or the answers cannot be put
    together by rows.
    """
    total = _rows(feeds)
    while True:
        rows = min(limit or total, total)
        try:
            return _run(feeds, total, rows, run), limit
        except MemoryExhausted:
            if rows < 2:
                raise
            limit = -(-rows // 2)


def _run(feeds: Arrays, total: int, rows: int, run: RunRows) -> dict[str, Array]:
    if rows >= total:
        return run(feeds)
    starts = range(0, total, rows)
    answers = [_portion(feeds, start, min(start + rows, total), run) for start in starts]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _portion(feeds: Arrays, start: int, end: int, run: RunRows) -> dict[str, Array]:
    answer = run({name: array[start:end] for name, array in feeds.items()})
    for name, array in answer.items():
        if array.ndim == 0 or len(array) != end - start:
            raise MemoryExhausted(
                f"the batch is too large, and output {name!r} does not tell which rows are whose"
            )
    return answer


def _rows(feeds: Arrays) -> int:
    """The rows that all inputs have; 1 where they differ, so that nothing is cut."""
    counts: Sequence[int] = sorted(
        {array.shape[0] if array.ndim else 1 for array in feeds.values()}
    )
    return counts[0] if len(counts) == 1 else 1
