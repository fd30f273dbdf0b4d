"""Which waiting items run together, pure: no thread, no clock of its own.

Items of one key become batches in the order they came. A batch closes when it is full; one that is
not full is given away when its first item has waited long enough. Whoever asks gets the oldest such
batch, of any key.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Batch(Generic[T]):
    """Items to run together: ``rows`` of them in all, the first since ``opened_ms``; ``number``
    orders batches.
    """

    number: int
    opened_ms: float
    rows: int = 0
    items: list[T] = field(default_factory=list)


class Batcher(Generic[T]):
    """Items that wait for others to be run with, at most for ``max_wait_ms``. Times are of any one
    clock, in ms.
    """

    def __init__(self, max_wait_ms: float) -> None:
        self._max_wait_ms = max_wait_ms
        self._opened = 0
        self._open: dict[Hashable, Batch[T]] = {}
        self._full: list[Batch[T]] = []

    def __len__(self) -> int:
        """How many items wait."""
        return sum(len(batch.items) for batch in (*self._open.values(), *self._full))

    def offer(self, key: Hashable, item: T, rows: int, max_rows: int, now_ms: float) -> None:
        """Take an item in; one that alone has more than ``max_rows`` becomes a batch of its own."""
        batch = self._open.get(key)
        if batch is not None and batch.rows + rows > max_rows:
            self._close(key)
            batch = None
        if batch is None:
            self._opened += 1
            batch = self._open[key] = Batch(self._opened, now_ms)
        batch.items.append(item)
        batch.rows += rows
        if batch.rows >= max_rows:
            self._close(key)

    def take(self, now_ms: float) -> Batch[T] | None:
        """The oldest batch that is full or has waited long enough, and None where there is none."""
        waited = [
            batch for batch in self._open.values() if batch.opened_ms + self._max_wait_ms <= now_ms
        ]
        oldest = min([*self._full, *waited], key=lambda batch: batch.number, default=None)
        if oldest is None:
            return None
        # The others may still grow while the device is busy with this one.
        self._full = [batch for batch in self._full if batch is not oldest]
        self._open = {key: batch for key, batch in self._open.items() if batch is not oldest}
        return oldest

    def due_ms(self) -> float | None:
        """When ``take`` will next have a batch, if nothing else comes: in the past where it has one
        now.
        """
        if self._full:
            return min(batch.opened_ms for batch in self._full)
        return min(
            (batch.opened_ms + self._max_wait_ms for batch in self._open.values()), default=None
        )

    def clear(self) -> list[T]:
        """All items that wait, which wait no longer."""
        batches = sorted([*self._open.values(), *self._full], key=lambda batch: batch.number)
        self._open, self._full = {}, []
        return [item for batch in batches for item in batch.items]

    def _close(self, key: Hashable) -> None:
        self._full.append(self._open.pop(key))
