"""When GPU workers start and end, as rules that the CDK app gives AWS and the simulation plays;
pure.

Each rule is an alarm on one figure a minute, and the number of tasks that it sets while it is on.
Only what SQS and ECS tell by themselves is looked at, so the rules hold even where the worker's own
metrics do not arrive.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from onnxlift.hosting import Gpu

PERIOD_S: Final = 60
STRANDED_MINUTES: Final = 10  # a machine that comes at all is at work after 3 to 6 minutes
COOLDOWN_S: Final = 300  # about what a start takes: nothing is ended that was only just asked for
MAX_STEPS: Final = 20  # Application Auto Scaling takes no more in one policy


@dataclass(frozen=True, slots=True)
class Minute:
    """What AWS counted in one minute.

    Messages that waited (``visible``), and that a worker had (``hidden``); receives that got
    nothing (``asked``), and messages that were received (``taken``); tasks that ran.
    """

    visible: float
    hidden: float
    asked: float
    taken: float
    running: float


@dataclass(frozen=True, slots=True)
class Measure:
    """Where a field of ``Minute`` comes from."""

    namespace: Literal["AWS/SQS", "AWS/ECS"]
    metric: str
    statistic: Literal["Maximum", "Sum", "SampleCount"]


MEASURES: Final = {
    "visible": Measure("AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum"),
    "hidden": Measure("AWS/SQS", "ApproximateNumberOfMessagesNotVisible", "Maximum"),
    "asked": Measure("AWS/SQS", "NumberOfEmptyReceives", "Sum"),
    "taken": Measure("AWS/SQS", "NumberOfMessagesReceived", "Sum"),
    # Every task sends its use of the processor each minute: their number is how many ran.
    "running": Measure("AWS/ECS", "CPUUtilization", "SampleCount"),
}


@dataclass(frozen=True, slots=True)
class Signal:
    """A figure made of some ``fields`` of a minute, as CloudWatch computes it and as Python
    does.
    """

    expression: str
    fields: tuple[str, ...]
    of: Callable[[Minute], float]


UNFINISHED: Final = Signal(
    "visible + hidden", ("visible", "hidden"), lambda now: now.visible + now.hidden
)
# Only while somebody looks for messages does their absence count. With nobody there, a rule that
# ends tasks would end the one that was just woken, before CloudWatch knows of the message it was
# woken for.
UNFINISHED_WHILE_ASKED: Final = Signal(
    "IF(asked > 0, visible + hidden, 1)",
    ("visible", "hidden", "asked"),
    lambda now: now.visible + now.hidden if now.asked > 0 else 1,
)
UNFINISHED_WHILE_RUNNING: Final = Signal(
    "IF(running > 0, visible + hidden, 1)",
    ("visible", "hidden", "running"),
    lambda now: now.visible + now.hidden if now.running > 0 else 1,
)
UNATTENDED: Final = Signal(
    "IF(hidden + asked + taken > 0, 0, visible)",
    ("visible", "hidden", "asked", "taken"),
    lambda now: 0 if now.hidden + now.asked + now.taken > 0 else now.visible,
)


@dataclass(frozen=True, slots=True)
class Step:
    """From ``messages`` on, or down from there where the rule looks for few: so many tasks,
    exactly.
    """

    messages: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Rule:
    """On after ``minutes`` in a row with a figure of at least, or with ``few`` at most, the first
    step's messages.

    A minute without a figure counts as one that is not: SQS tells nothing of a queue that nobody
    used for six hours.
    """

    name: str
    description: str
    signal: Signal
    minutes: int
    steps: tuple[Step, ...]
    few: bool = False
    cooldown_s: int = COOLDOWN_S

    @property
    def threshold(self) -> int:
        """The figure from which on the rule counts."""
        return self.steps[0].messages

    def tasks(self, recent: Sequence[Minute | None]) -> int | None:
        """How many tasks the rule sets after these minutes, the newest last; None while it is
        off.
        """
        looked_at = recent[-self.minutes :]
        figures = [self.signal.of(minute) for minute in looked_at if minute is not None]
        if len(figures) < self.minutes or not all(map(self._counts, figures)):
            return None
        return next(
            step.tasks for step in reversed(self.steps) if self.few or figures[-1] >= step.messages
        )

    def _counts(self, figure: float) -> bool:
        return figure <= self.threshold if self.few else figure >= self.threshold


def rules(gpu: Gpu) -> tuple[Rule, ...]:
    """The rules of a model's workers."""
    busy = Rule(
        "busy",
        "Jobs wait or are worked on: as many workers as they are worth",
        UNFINISHED,
        1,
        tuple(_steps(gpu.max_tasks, gpu.jobs_per_task)),
    )
    return (busy, *_ending(gpu))


def standby_rules(gpu: Gpu) -> tuple[Rule, ...]:
    """The rules of the worker on demand that stands in where no spot machine is to be had."""
    stranded = Rule(
        "stranded",
        f"Jobs wait, and for {STRANDED_MINUTES} minutes nobody has looked for them: one worker on "
        f"demand",
        UNATTENDED,
        STRANDED_MINUTES,
        (Step(1, 1),),
    )
    return (stranded, *_ending(gpu))


def _ending(gpu: Gpu) -> tuple[Rule, ...]:
    """End all workers when there is nothing to do; told twice, because one that hangs asks for
    nothing.
    """
    told = f"for {gpu.idle_minutes} minutes there was no job"
    none = (Step(0, 0),)
    return (
        Rule(
            "idle",
            f"Workers look, and {told}",
            UNFINISHED_WHILE_ASKED,
            gpu.idle_minutes,
            none,
            few=True,
        ),
        Rule(
            "leftover",
            f"Workers run, and {told}",
            UNFINISHED_WHILE_RUNNING,
            gpu.idle_minutes,
            none,
            few=True,
        ),
    )


def _steps(max_tasks: int, jobs_per_task: int) -> Iterator[Step]:
    """One more task for each further ``jobs_per_task``; in larger steps where there would be too
    many.
    """
    count = min(max_tasks, MAX_STEPS)
    before = 0
    for number in range(1, count + 1):
        yield Step(before * jobs_per_task + 1, tasks := math.ceil(number * max_tasks / count))
        before = tasks
