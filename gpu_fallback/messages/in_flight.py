"""What a worker holds: every message that it received and is not done with, and how many it may
have.
"""

import threading
from dataclasses import dataclass, field
from typing import Final

from onnxlift_runtime.aws.queues import MAX_AT_ONCE, Message
from onnxlift_runtime.dataplane.tasks import Answer, Task
from onnxlift_runtime.jobs.job import Job

# What is being run, what is ready to be run next, and what is being fetched or published.
INFERENCES_HELD: Final = 3
# Short inferences need more: while one job is fetched and another published, many are run.
AHEAD_S: Final = 0.5
MOST_AHEAD: Final = 200
MAX_HELD_BYTES: Final = (
    512 * 1024 * 1024
)  # of all payloads, arrays and answers; beyond it no job is fetched


@dataclass(eq=False, slots=True)
class Holding:
    """A message and how far it came: ``job`` once it is claimed, ``task`` and ``answers`` once it
    is decoded.

    ``missing`` counts the answers that are yet to come, ``started`` is whether any was begun,
    ``workers`` how many threads load or compute it. ``arrays_bytes`` is what its inputs and answers
    take. ``broken`` says what nobody expected. ``closed``: somebody ends it, and nobody else may;
    ``ended``: that is done, as far as the job goes.
    """

    message: Message
    received_s: float
    job: Job | None = None
    task: Task | None = None
    answers: list[Answer | None] = field(default_factory=list)
    missing: int = 0
    started: bool = False
    workers: int = 0
    arrays_bytes: int = 0
    broken: str = ""
    closed: bool = False
    ended: bool = False

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, as far as it is fetched."""
        return self.arrays_bytes + (self.job.payload.size_bytes if self.job else 0)


class Holdings:
    """All that a worker holds; safe to use from several threads."""

    def __init__(self, max_rows: int) -> None:
        """``max_rows`` is how many jobs one inference may take.

        ``capacity`` counts messages; a receiver may go beyond it by what another receives at the
        same time.
        """
        self.capacity = self._least = INFERENCES_HELD * max_rows
        self._held: set[Holding] = set()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """How many messages are held."""
        return len(self._held)

    def __contains__(self, holding: Holding) -> bool:
        """Whether it is held."""
        return holding in self._held

    def snapshot(self) -> list[Holding]:
        """What is held and not being ended, the oldest first."""
        with self._changed:
            return sorted(
                (item for item in self._held if not item.closed), key=lambda item: item.received_s
            )

    def kept(self) -> list[Holding]:
        """What is to stay held: all that is held but what has ended, for ending it may take
        long.
        """
        with self._changed:
            return [item for item in self._held if not item.ended]

    def add(self, holding: Holding) -> None:
        """Hold a message from now on."""
        with self._changed:
            self._held.add(holding)

    def close(self, holding: Holding) -> bool:
        """Claim the right to end it; False where somebody else has."""
        with self._changed:
            closed, holding.closed = holding.closed, True
            return not closed

    def remove(self, holding: Holding) -> None:
        """Hold it no longer."""
        with self._changed:
            self._held.discard(holding)
            self._changed.notify_all()

    def expect(self, jobs_per_s: float) -> None:
        """Make room for what is run within the next moment, at the rate that was seen last."""
        with self._changed:
            self.capacity = self._least + min(MOST_AHEAD, int(jobs_per_s * AHEAD_S))
            self._changed.notify_all()

    def wait_for_room(self, timeout_s: float) -> int:
        """How many more messages there is room for; 0 where that takes too long.

        A few at once, because receiving one costs as much as receiving ten.
        """
        with self._changed:
            self._changed.wait_for(self._room, timeout_s)
            return self._room()

    def wait_for_memory(self, timeout_s: float) -> bool:
        """Whether one more job may be fetched; False where that takes too long."""
        with self._changed:
            return self._changed.wait_for(self._has_memory, timeout_s)

    def _room(self) -> int:
        wanted = max(1, min(MAX_AT_ONCE, self.capacity // INFERENCES_HELD))
        room = self.capacity - len(self._held) if self._has_memory() else 0
        return room if room >= wanted else 0

    def _has_memory(self) -> bool:
        return sum(item.size_bytes for item in self._held) < MAX_HELD_BYTES
