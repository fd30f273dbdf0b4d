"""Keeping what is held: its message hidden and its lease alive, for as long as SQS allows."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from gpu_fallback.messages.in_flight import Holding
from onnxlift_runtime import telemetry
from onnxlift_runtime.aws.queues import Message
from onnxlift_runtime.errors import JobNotFound, LeaseLost
from onnxlift_runtime.jobservice.worker import Worker

# SQS hides a message for twelve hours from when it was received, however often that is prolonged.
HELD_AT_MOST_S: Final = 12 * 3600
# Each lease is a call to the table: one after the other, those of many jobs would take longer than
# they last.
THREADS: Final = 8
OVERDUE: Final = "the worker held the job for the 12 hours that SQS allows"


def sort_out(
    held: Iterable[Holding], now_s: float, visibility_s: int
) -> tuple[list[Holding], list[Holding]]:
    """Which holdings can be kept for another ``visibility_s``, and which would be held for too
    long; pure.
    """
    kept: list[Holding] = []
    overdue: list[Holding] = []
    for holding in held:
        fits = now_s + visibility_s <= holding.received_s + HELD_AT_MOST_S
        (kept if fits else overdue).append(holding)
    return kept, overdue


class Heartbeat:
    """What keeps the holdings of a worker."""

    def __init__(
        self, core: Worker, visibility_s: int, lease_ms: int, lost: Callable[[Holding], None]
    ) -> None:
        """``lost`` is told each holding whose job somebody else holds, or that ended."""
        self._core = core
        self._visibility_s = visibility_s
        self._lease_ms = lease_ms
        self._lost = lost
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="renew")

    def beat(self, held: Sequence[Holding]) -> None:
        """Keep these for another while; a store that is away is tried again at the next beat."""
        by_queue: dict[str, list[Message]] = defaultdict(list)
        for holding in held:
            by_queue[holding.message.queue].append(holding.message)
        for name, messages in by_queue.items():
            self._extend(name, messages)
        list(self._pool.map(self._renew, held))

    def _extend(self, name: str, messages: Sequence[Message]) -> None:
        try:
            refused = self._core.service.queues.extend(messages, self._visibility_s)
        except Exception as error:  # whatever it was, the next beat comes before the messages do
            telemetry.log("warning", "messages not kept", queue=name, why=str(error))
            return
        if refused:
            telemetry.log(
                "warning",
                "messages not kept",
                queue=name,
                messages=refused,
                why="SQS knows them no more",
            )

    def _renew(self, holding: Holding) -> None:
        job = holding.job
        if job is None or holding.ended:
            return
        try:
            holding.job = self._core.renew(
                job, self._lease_ms
            )  # whoever ends it has it as it is now
        except (LeaseLost, JobNotFound) as error:
            if not holding.closed:
                telemetry.log("warning", "job lost", job=job.id, why=str(error))
                self._lost(holding)
        except Exception as error:
            telemetry.log("warning", "lease not renewed", job=job.id, why=str(error))
