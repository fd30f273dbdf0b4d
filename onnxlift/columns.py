"""Samples by input, and how a model takes them: so many at a time, on the axis of each input."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Column: TypeAlias = Array | tuple[Array, ...]
"""One input of all samples: an array with the samples first, or one array for each sample."""


@dataclass(frozen=True)
class Columns(Mapping[str, Any]):
    """The columns by input name.

    ``axes`` maps each input that has a batch to its dimension; a sample is a row of it, without
    that dimension. Other inputs are shared by the rows of a run. No axes at all: each sample is a
    run. ``fixed`` is the number of rows that every run must have, 0 where that is free.
    """

    columns: Mapping[str, Column]
    axes: Mapping[str, int]
    fixed: int = 0

    def __getitem__(self, name: str) -> Any:
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def take(self, rows: Sequence[int] | Array) -> "Columns":
        """The samples at ``rows``, in that order."""
        index = np.asarray(rows, dtype=np.int64)
        columns = {
            name: tuple(column[row] for row in index)
            if isinstance(column, tuple)
            else column[index]
            for name, column in self.columns.items()
        }
        return Columns(columns, self.axes, self.fixed)

    def runs(self, rows: int) -> Iterator[range]:
        """Which samples run together: neighbours that fit, ``rows`` at most.

        A fixed batch leaves the rest out; without a batch each runs by itself.
        """
        step = self.fixed or (rows if self.axes else 1)
        start = 0
        while start < self.count:
            end = self._end(start, min(start + step, self.count))
            if not self.fixed or end - start == self.fixed:
                yield range(start, end)
            start = end

    def feed(self, index: range) -> dict[str, Array]:
        """The inputs of one run of neighbours."""
        return {name: self._together(name, index) for name in self.columns}

    def _end(self, start: int, end: int) -> int:
        """Where the run that begins at ``start`` ends, at ``end`` at the latest."""
        for row in range(start + 1, end if self._uneven else start):
            if not all(self._fits(name, start, row) for name in self._uneven):
                return row
        return end

    @cached_property
    def _uneven(self) -> tuple[str, ...]:
        """The inputs that can keep samples from running together."""
        return tuple(
            name
            for name, column in self.columns.items()
            if isinstance(column, tuple) or name not in self.axes
        )

    def _fits(self, name: str, first: int, second: int) -> bool:
        one, other = self.columns[name][first], self.columns[name][second]
        if name in self.axes:
            return bool(np.shape(one) == np.shape(other))
        return bool(np.array_equal(one, other))

    def _together(self, name: str, index: range) -> Array:
        column, axis = self.columns[name], self.axes.get(name)
        if axis is None:
            return np.asarray(column[index.start])
        rows = column[index.start : index.stop]
        array = np.stack(rows) if isinstance(rows, tuple) else rows
        return np.ascontiguousarray(np.moveaxis(array, 0, axis)) if axis else array
