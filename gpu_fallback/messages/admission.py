"""Lets held messages in to be claimed, as the quarantine decides."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from gpu_fallback.loop import LOOK_S, Loop
from gpu_fallback.messages.in_flight import Holding, Holdings
from gpu_fallback.messages.quarantine import Quarantine

STEP_S: Final = 60.0

Tell = Callable[[Holding], None]


class Admission:
    """What is held, and who of it may be claimed; safe to use from several threads.

    A holding is in until it is no longer held, and no thread is at work with it: one that was lost
    or canceled may still be computed, and so end the process.
    """

    def __init__(self, holdings: Holdings, admit: Tell, give_back: Tell) -> None:
        """``admit`` is given each holding that may be claimed now, ``give_back`` each that others
        should have.
        """
        self._holdings = holdings
        self._admit = admit
        self._give_back = give_back
        self._quarantine: Quarantine[Holding] = Quarantine()
        self._changed = threading.Condition()
        self._ended = False
        self.loop = Loop("admit", self._step, STEP_S)

    @property
    def closed(self) -> bool:
        """Whether what is received now would have to wait for suspects."""
        return self._quarantine.closed

    def take(self, holding: Holding) -> None:
        """Hold a message, and let it in when its time comes."""
        self._holdings.add(holding)
        with self._changed:
            self._quarantine.arrive(holding)
            admitted = self._next()
        for one in admitted:
            self._admit(one)

    def is_alone(self, holding: Holding) -> bool:
        """Whether it was let in with nothing beside it."""
        return self._quarantine.alone is holding

    def suspect(self, holding: Holding, deaths: int) -> None:
        """Have one wait that was let in with others, and must be claimed alone."""
        with self._changed:
            self._quarantine.suspect(holding, deaths, monotonic())
            self._changed.notify()

    def leave(self, holding: Holding) -> None:
        """Hold it no longer."""
        self._holdings.remove(holding)
        with self._changed:
            self._forget(holding)

    @contextmanager
    def at_work(self, holdings: Iterable[Holding]) -> Iterator[None]:
        """Keep these in while the block lasts, whatever becomes of them."""
        kept = tuple(holdings)
        with self._changed:
            for holding in kept:
                holding.workers += 1
        try:
            yield
        finally:
            with self._changed:
                for holding in kept:
                    holding.workers -= 1
                    self._forget(holding)

    def end(self) -> None:
        """Let everything in, now and from now on: nothing is claimed any more."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _forget(self, holding: Holding) -> None:
        if not holding.workers and holding not in self._holdings:
            self._quarantine.leave(holding)
            if self._quarantine.waiting or self._quarantine.closed:
                self._changed.notify()

    def _step(self) -> None:
        with self._changed:
            if not (admitted := self._next()):
                self._changed.wait(LOOK_S)
                admitted = self._next()
            late = self._quarantine.give_up(monotonic())
        for holding in late:
            self._give_back(holding)
        for holding in admitted:
            self._admit(holding)

    def _next(self) -> list[Holding]:
        return self._quarantine.clear() if self._ended else self._quarantine.admit(monotonic())
