"""What is open at the moment, within a memory budget: the least recently used goes first, what is
in use stays.

Each is opened by one thread at a time, while others go on with theirs.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Place(Generic[T]):
    """One item from when it is first asked for until it is dropped: ``users`` hold it, or wait to
    open it.

    It takes its cost from when it is ``admitted``, before it is opened.
    """

    cost_mb: float
    users: int = 1
    admitted: bool = False
    item: T | None = None


class SessionCache(Generic[T]):
    """Open items by key; safe to use from several threads."""

    def __init__(
        self, budget_mb: float, unloaded: Callable[[Hashable], None] = lambda _key: None
    ) -> None:
        """``budget_mb`` 0 is no bound; ``unloaded`` is told each item that had to go."""
        self._budget_mb = budget_mb
        self._unloaded = unloaded
        self._places: dict[Hashable, _Place[T]] = {}  # the least recently used first
        self._changed = threading.Condition()

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """What is open or being opened, the least recently used first."""
        with self._changed:
            return tuple(self._places)

    @contextmanager
    def borrow(self, key: Hashable, cost_mb: float, open_item: Callable[[], T]) -> Iterator[T]:
        """The item of a key, opened with ``open_item`` where it is not; it stays open for as long
        as it is borrowed.

        Waits while another thread opens it, and while there is no room because everything else is
        in use. Raises what ``open_item`` raises. One that costs more than the whole budget gets it
        all to itself.
        """
        place = self._take(key, cost_mb)
        try:
            if place.item is None:
                place.item = self._open(key, place, open_item)
            yield place.item
        finally:
            with self._changed:
                place.users -= 1
                self._changed.notify_all()

    def drop_idle(self) -> bool:
        """Drop everything that nobody uses; whether there was anything."""
        with self._changed:
            idle = [key for key, place in self._places.items() if not place.users]
            for key in idle:
                self._drop(key)
            return bool(idle)

    def _take(self, key: Hashable, cost_mb: float) -> _Place[T]:
        """Become a user of the key's place; it is new, and to be filled, where it has no item."""
        with self._changed:
            while (place := self._places.get(key)) is not None and place.item is None:
                self._changed.wait()
            if place is None:
                place = self._places[key] = _Place(cost_mb)
                self._admit(place)
            else:
                place.users += 1
                self._places[key] = self._places.pop(key)
            return place

    def _open(self, key: Hashable, place: _Place[T], open_item: Callable[[], T]) -> T:
        try:
            item = open_item()
        except BaseException:
            with self._changed:
                del self._places[key]
                self._changed.notify_all()
            raise
        with self._changed:
            place.item = item
            self._changed.notify_all()
        return item

    def _admit(self, place: _Place[T]) -> None:
        """Drop idle items, the least recently used first, until there is room; the first is
        admitted in any case.
        """
        while (
            self._budget_mb
            and (used_mb := self._used_mb()) > 0
            and used_mb + place.cost_mb > self._budget_mb
        ):
            idle = next((key for key, other in self._places.items() if not other.users), None)
            if idle is None:
                self._changed.wait()
            else:
                self._drop(idle)
        place.admitted = True

    def _used_mb(self) -> float:
        return sum(place.cost_mb for place in self._places.values() if place.admitted)

    def _drop(self, key: Hashable) -> None:
        del self._places[key]
        self._unloaded(key)
