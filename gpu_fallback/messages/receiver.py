"""Receiving the messages of one model's queue, no more of them than can be worked on."""

import time
from collections.abc import Callable
from time import monotonic
from typing import Final

from gpu_fallback.messages.in_flight import Holdings
from onnxlift_runtime import telemetry
from onnxlift_runtime.aws.queues import Message, Queues
from onnxlift_runtime.errors import ModelUnavailable
from onnxlift_runtime.names import GPU

TICK_S: Final = 0.1
ROOM_S: Final = 0.5  # how long it waits for room before it looks whether it is to end
NOT_READ_PAUSE_S: Final = 5.0  # after what was several tries already
FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 300.0


class Receiver:
    """One queue; ``step`` is what its thread does over and over."""

    def __init__(
        self,
        queues: Queues,
        model: str,
        holdings: Holdings,
        take: Callable[[Message], None],
        wait_s: int,
        hide_s: int,
        resting: Callable[[], bool] = lambda: False,
    ) -> None:
        """``wait_s`` is the long poll's, ``hide_s`` the visibility timeout of what it takes.

        While ``resting`` it receives nothing.
        """
        self._queues = queues
        self._model = model
        self._holdings = holdings
        self._take = take
        self._wait_s = wait_s
        self._hide_s = hide_s
        self._resting = resting
        self._pause_s = FIRST_PAUSE_S
        self._quiet_until_s = 0.0

    def step(self) -> None:
        """Receive some messages, where there is room and no reason to wait."""
        quiet_s = self._quiet_until_s - monotonic()
        if quiet_s > 0 or self._resting():
            time.sleep(min(max(quiet_s, TICK_S), ROOM_S))
            return
        room = self._holdings.wait_for_room(ROOM_S)
        if not room:
            return
        try:
            messages = self._queues.receive(self._model, GPU, room, self._wait_s, self._hide_s)
        except Exception as error:  # a worker that may not read its queue today may tomorrow
            telemetry.log("error", "queue not read", model=self._model, why=str(error))
            self._quiet_until_s = monotonic() + NOT_READ_PAUSE_S
            return
        for message in messages:
            self._take(message)

    def report(self, unavailable: ModelUnavailable | None) -> None:
        """Hear whether the model runs here: while it does not, its jobs are left to others, longer
        each time.
        """
        if unavailable is None:
            self._pause_s = FIRST_PAUSE_S
        elif monotonic() >= self._quiet_until_s:
            pause_s = max(float(unavailable.retry_after_s), self._pause_s)
            self._pause_s = min(MAX_PAUSE_S, 2 * pause_s)
            self._quiet_until_s = monotonic() + pause_s
            telemetry.log(
                "error",
                "queue left alone",
                model=self._model,
                seconds=pause_s,
                why=str(unavailable),
            )
