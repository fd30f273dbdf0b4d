"""A queue, its workers and AWS's clocks, played second by second with the rules that the CDK app
deploys.
"""

import operator
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from onnxlift.hosting import Gpu
from onnxlift.scaling import PERIOD_S, Minute, rules

POLL_S: Final = 20  # an idle worker's long poll
COLD_QUEUE_S: Final = 6 * 3600  # after so long without use, SQS stops to tell anything of a queue,
COLD_DELAY_S: Final = 15 * 60  # and takes up to so long to begin again


@dataclass(frozen=True, slots=True)
class World:
    """What does not depend on the rules, in seconds: a machine's start, CloudWatch's delay, a
    batch's and a job's work.

    ``linger_s`` is how long a machine is paid for after its task; ``wakes`` whether a submitted job
    starts a worker.
    """

    start_s: int = 240
    metric_s: int = 90
    batch_s: float = 1.0
    job_s: float = 0.5
    linger_s: int = 300
    wakes: bool = True


@dataclass(slots=True)
class Task:
    """One worker: it runs from ``ready_s`` on, and holds the jobs of one batch until ``busy_s``."""

    asked_s: int
    ready_s: int
    held: list[int] = field(default_factory=list)
    busy_s: float = 0
    polled_s: int = 0
    leaving: bool = False


@dataclass(slots=True)
class Outcome:
    """What a day came to: for each job when its work began and ended, tasks by minute, and machine
    seconds to pay.
    """

    began: dict[int, float] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)
    asleep: set[int] = field(default_factory=set)
    tasks: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    paid_s: int = 0
    ended_while_working: int = 0


class Day:
    """The state of the world while it is played; ``arrivals`` are seconds, in order."""

    def __init__(self, arrivals: Sequence[int], gpu: Gpu, world: World) -> None:
        self._gpu, self._world, self._rules = gpu, world, rules(gpu)
        self._arrivals = deque(enumerate(arrivals))
        self._visible: deque[int] = deque()
        self._tasks: list[Task] = []
        self._desired = 0
        self._scaled_s = -(10**9)
        self._used_s = -(10**9)
        self._warm_s = 0
        self._asked = self._taken = 0
        self._told: list[tuple[int, Minute | None]] = []
        self.outcome = Outcome()

    def play(self, seconds: int) -> Outcome:
        """Play at least so long, and on until every job has ended and every task with it."""
        now = 0
        while now < seconds or self._arrivals or self._visible or self._tasks:
            self._submit(now)
            for task in list(self._tasks):
                self._work(task, now)
            if now % PERIOD_S == 0 and now:
                self._count(now)
                self._scale(now)
            now += 1
        return self.outcome

    def _submit(self, now: int) -> None:
        while self._arrivals and self._arrivals[0][1] <= now:
            self._enqueue(self._arrivals.popleft()[0], now)

    def _enqueue(self, job: int, now: int) -> None:
        self._visible.append(job)
        if not any(task.ready_s <= now for task in self._tasks):
            self.outcome.asleep.add(job)
        if self._world.wakes and not self._desired:
            self._set(1, now)
        self._use(now)

    def _use(self, now: int) -> None:
        """SQS notices that the queue is used; one that was not for hours is slow to tell of
        itself.
        """
        if now - self._used_s > COLD_QUEUE_S:
            self._warm_s = now + COLD_DELAY_S
        self._used_s = now

    def _work(self, task: Task, now: int) -> None:
        if now < task.ready_s or now < task.busy_s:
            return
        for job in task.held:
            self.outcome.ended[job] = now
        task.held = []
        if task.leaving:
            self._end(task, now)
        elif self._visible:
            self._take(task, now)
        elif now - task.polled_s >= POLL_S:
            task.polled_s = now
            self._asked += 1
            self._use(now)

    def _take(self, task: Task, now: int) -> None:
        """A batch is taken, and protects its task from being ended until it is done."""
        task.held = [
            self._visible.popleft()
            for _ in range(min(len(self._visible), self._gpu.max_batch_size))
        ]
        task.busy_s = now + self._world.batch_s + self._world.job_s * len(task.held)
        task.polled_s = now
        self._taken += len(task.held)
        self.outcome.began |= dict.fromkeys(task.held, float(now))
        self._use(now)

    def _count(self, now: int) -> None:
        """The minute as AWS will tell it."""
        running = [task for task in self._tasks if task.ready_s <= now]
        hidden = sum(len(task.held) for task in running)
        minute = Minute(len(self._visible), hidden, self._asked, self._taken, len(running))
        self._asked = self._taken = 0
        cold = now - self._used_s > COLD_QUEUE_S
        self._told.append((max(now + self._world.metric_s, self._warm_s), None if cold else minute))
        self.outcome.tasks.append(len(self._tasks))
        self.outcome.waiting.append(len(self._visible))

    def _scale(self, now: int) -> None:
        """What Application Auto Scaling does: the most that a rule asks for; fewer only after the
        cooldown.
        """
        known = [minute for told_s, minute in self._told if told_s <= now]
        asked = [
            (found, rule)
            for rule in self._rules
            if (found := rule.tasks(known[-rule.minutes :])) is not None
        ]
        if not asked:
            return
        most, rule = max(asked, key=operator.itemgetter(0))
        if most > self._desired or (
            most < self._desired and now - self._scaled_s >= rule.cooldown_s
        ):
            self._scaled_s = now
            self._set(most, now)

    def _set(self, desired: int, now: int) -> None:
        """ECS starts tasks, or ends some: first those that only start, then idle ones; others end
        with their batch.
        """
        self._desired = desired
        staying = [task for task in self._tasks if not task.leaving]
        for _ in range(desired - len(staying)):
            self._tasks.append(
                Task(now, now + self._world.start_s, polled_s=now + self._world.start_s)
            )
        staying.sort(key=lambda task: (task.ready_s <= now, bool(task.held)))
        for task in staying[: max(0, len(staying) - desired)]:
            task.leaving = True
            if not task.held:
                self._end(task, now)

    def _end(self, task: Task, now: int) -> None:
        self.outcome.ended_while_working += bool(task.held)
        self.outcome.paid_s += now - task.asked_s + self._world.linger_s
        self._tasks.remove(task)
