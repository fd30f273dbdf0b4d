"""Threads that do one thing over and over, and tell whether they still do."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from onnxlift_runtime import telemetry

LOOK_S: Final = 0.5  # a thread without work looks this often whether it is to end

Step = Callable[[], None]
Clock = Callable[[], float]


class Loop:
    """A thread that calls ``step`` until it is ended; no step may take longer than ``allowed_s``.

    A step that raises ends the loop: what a step expects to go wrong it handles by itself.
    """

    def __init__(
        self, name: str, step: Step, allowed_s: float, clock: Clock = time.monotonic
    ) -> None:
        self.name = name
        self._step = step
        self._allowed_s = allowed_s
        self._clock = clock
        self._began_s = clock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.broken = False

    def start(self) -> None:
        """Begin; the thread dies with the process."""
        self._began_s = self._clock()
        self._thread.start()

    def end(self) -> None:
        """Let the present step be the last."""
        self._ended.set()

    @property
    def running(self) -> bool:
        """Whether the last step is yet to return."""
        return self._thread.is_alive()

    @property
    def stuck(self) -> bool:
        """Whether it makes no progress: it broke, or its step takes too long."""
        return self.broken or self._clock() - self._began_s > self._allowed_s

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self._began_s = self._clock()
                self._step()
        except BaseException as error:  # nothing may end a thread unseen
            self.broken = True
            telemetry.log("error", "thread broke", thread=self.name, why=repr(error))


class Stage:
    """Some threads that work on what they are given, first come first served.

    Its queue has no bound of its own: whoever receives messages is held to what all stages together
    may have.
    """

    def __init__(self, name: str, threads: int, allowed_s: float) -> None:
        self._queue: queue.SimpleQueue[Step] = queue.SimpleQueue()
        self.loops = [Loop(f"{name}-{number}", self._next, allowed_s) for number in range(threads)]

    def put(self, work: Step) -> None:
        """Have something done; it must handle what it raises."""
        self._queue.put(work)

    def _next(self) -> None:
        try:
            work = self._queue.get(timeout=LOOK_S)
        except queue.Empty:
            return
        work()
