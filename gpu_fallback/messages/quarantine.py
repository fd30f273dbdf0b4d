"""Which jobs a worker may claim now, pure: any number in company, or one suspect with no other
beside it.

Whoever dies loses an attempt of every job that it holds, whichever of them was the cause. A job
that a worker died with is a suspect: it begins when nothing else is held, and nothing else begins
until it has ended. So it can cost no other job an attempt, nor another job it.

Both kinds have their turns. Suspects that come while others are worked on gather for a while, then
nothing else is let in until they are through or their turn is over; then the others have as long as
that took.
"""

from typing import Final, Generic, TypeVar

T = TypeVar("T")

# For which suspects gather: each change of turns leaves the device idle for a moment.
PATIENCE_S: Final = 5.0
TURN_S: Final = 30.0  # after which no other suspect begins before the others had their turn
LOOK_S: Final = 1.0  # a turn of the others in which nothing comes: who receives has looked by then


class Quarantine(Generic[T]):
    """Items that wait to be let in, and those that are in. Times are of any one clock, in
    seconds.
    """

    def __init__(self) -> None:
        self.alone: T | None = None  # the suspect that is in
        self._arrived: list[T] = []
        self._suspects: list[tuple[int, T]] = []  # the most suspicious last
        self._company: set[T] = set()
        self._closed_s: float | None = None  # since when only suspects are let in
        self._began_s: float | None = None  # since when they are: what was in had to end first
        # The latter where there is nothing else to do.
        self._close_at_s = self._close_idle_at_s = 0.0

    @property
    def closed(self) -> bool:
        """Whether suspects have their turn, so that what comes now has to wait."""
        return self._closed_s is not None

    @property
    def waiting(self) -> bool:
        """Whether anybody waits to be let in."""
        return bool(self._arrived or self._suspects)

    def arrive(self, item: T) -> None:
        """Take in an item that nothing is known of yet."""
        self._arrived.append(item)

    def suspect(self, item: T, deaths: int, now_s: float) -> None:
        """Have an item wait that was let in with others and is a suspect, so many workers have died
        with it.
        """
        self._company.discard(item)
        if not self._suspects:
            self._close_at_s = max(self._close_at_s, now_s + PATIENCE_S)
        self._suspects.append((deaths, item))
        self._suspects.sort(key=lambda waiting: waiting[0])

    def leave(self, item: T) -> None:
        """Forget an item that has ended, wherever it is."""
        self._company.discard(item)
        if item in self._arrived:
            self._arrived.remove(item)
        self._suspects = [waiting for waiting in self._suspects if waiting[1] is not item]
        if self.alone is item:
            self.alone = None

    def admit(self, now_s: float) -> list[T]:
        """Let in those that may be claimed now: some that nothing is known of, or one suspect."""
        if self.alone is not None:
            return []
        self._change_turns(now_s)
        if not self.closed:
            admitted, self._arrived = self._arrived, []
            self._company.update(admitted)
            return admitted
        if self._company:
            return []
        self._began_s = now_s if self._began_s is None else self._began_s
        _, self.alone = self._suspects.pop(0)
        return [self.alone]

    def give_up(self, now_s: float) -> list[T]:
        """Items that nothing is known of and that no longer wait: the suspect before them takes too
        long.
        """
        if self.alone is None or not self._is_turn_over(now_s):
            return []
        late, self._arrived = self._arrived, []
        return late

    def clear(self) -> list[T]:
        """All items that wait, which wait no longer."""
        waiting = [*self._arrived, *(item for _, item in self._suspects)]
        self._arrived, self._suspects = [], []
        return waiting

    def _change_turns(self, now_s: float) -> None:
        if self._closed_s is None:
            self._begin_turn_of_suspects(now_s)
        elif not self._suspects or self._is_turn_over(now_s):
            # The others now have as long as the suspects had.
            self._close_at_s = now_s + (now_s - self._closed_s)
            self._close_idle_at_s = now_s + LOOK_S
            self._closed_s = self._began_s = None

    def _begin_turn_of_suspects(self, now_s: float) -> None:
        idle = not self._company and not self._arrived
        due_s = self._close_idle_at_s if idle else self._close_at_s
        if self._suspects and now_s >= due_s:
            self._closed_s = now_s

    def _is_turn_over(self, now_s: float) -> bool:
        return self._began_s is not None and now_s - self._began_s >= TURN_S
