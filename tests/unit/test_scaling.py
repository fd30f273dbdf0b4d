"""The rules by which GPU workers start and end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift.hosting import Gpu
from onnxlift.scaling import (
    MAX_STEPS,
    MEASURES,
    UNATTENDED,
    UNFINISHED,
    UNFINISHED_WHILE_ASKED,
    UNFINISHED_WHILE_RUNNING,
    Minute,
    Rule,
    Signal,
    rules,
    standby_rules,
)

COUNTS = st.integers(0, 300)
MINUTES = st.builds(Minute, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
GPUS = st.builds(Gpu, max_tasks=st.integers(1, 100), jobs_per_task=st.integers(1, 500))
SIGNALS = [
    pytest.param(UNFINISHED, id="unfinished"),
    pytest.param(UNFINISHED_WHILE_ASKED, id="asked"),
    pytest.param(UNFINISHED_WHILE_RUNNING, id="running"),
    pytest.param(UNATTENDED, id="unattended"),
]
IDLE = Minute(visible=0, hidden=0, asked=3, taken=0, running=1)
ASLEEP = Minute(visible=0, hidden=0, asked=0, taken=0, running=0)
HUNG = Minute(visible=0, hidden=0, asked=0, taken=0, running=1)
WAITING = Minute(visible=1, hidden=0, asked=0, taken=0, running=0)
WORKING = Minute(visible=0, hidden=1, asked=0, taken=1, running=1)


def named(name: str, gpu: Gpu | None = None) -> Rule:
    gpu = gpu or Gpu()
    (rule,) = {rule for rule in (*rules(gpu), *standby_rules(gpu)) if rule.name == name}
    return rule


@pytest.mark.parametrize("signal", SIGNALS)
@given(minute=MINUTES)
def test_cloudwatchs_expression_gives_the_same_figure_as_python(
    signal: Signal, minute: Minute
) -> None:
    names = {name: getattr(minute, name) for name in signal.fields}

    figure = eval(
        signal.expression,
        {"IF": lambda condition, then, other: then if condition else other},
        names,
    )

    assert figure == signal.of(minute)
    assert set(signal.fields) <= set(MEASURES)


@given(gpu=GPUS, messages=st.integers(1, 100_000))
def test_there_are_enough_workers_for_what_waits_and_never_too_many(
    gpu: Gpu, messages: int
) -> None:
    now = Minute(visible=messages, hidden=0, asked=0, taken=0, running=0)

    tasks = named("busy", gpu).tasks([now])

    assert tasks is not None
    assert tasks >= min(gpu.max_tasks, -(-messages // gpu.jobs_per_task))
    assert tasks <= gpu.max_tasks


@given(gpu=GPUS)
def test_more_messages_never_mean_fewer_workers(gpu: Gpu) -> None:
    steps = named("busy", gpu).steps

    assert steps[0].messages == 1
    assert len(steps) <= MAX_STEPS
    assert list(steps) == sorted(steps, key=lambda step: step.messages)
    assert [step.tasks for step in steps] == sorted({step.tasks for step in steps})
    assert steps[-1].tasks == gpu.max_tasks


def test_the_first_message_wakes_one_worker() -> None:
    assert named("busy", Gpu(max_tasks=4)).tasks([ASLEEP, WAITING]) == 1


def test_nothing_is_started_while_there_is_nothing_to_do() -> None:
    assert named("busy").tasks([IDLE]) is None


@pytest.mark.parametrize(
    ("rule", "minutes", "tasks"),
    [
        pytest.param("idle", [IDLE] * 15, 0, id="idle-long-enough"),
        pytest.param("idle", [IDLE] * 14, None, id="idle-too-short"),
        pytest.param("idle", [*[IDLE] * 7, WORKING, *[IDLE] * 7], None, id="a-job-in-between"),
        pytest.param("idle", [*[IDLE] * 14, None], None, id="a-minute-that-nobody-counted"),
        pytest.param("idle", [ASLEEP] * 60, None, id="nobody-there-to-end"),
        pytest.param("idle", [HUNG] * 60, None, id="nobody-asks"),
        pytest.param("leftover", [HUNG] * 15, 0, id="a-worker-hangs"),
        pytest.param("leftover", [ASLEEP] * 60, None, id="nothing-left-over"),
        pytest.param("stranded", [WAITING] * 10, 1, id="no-spot-machine-comes"),
        pytest.param("stranded", [WAITING] * 9, None, id="one-may-still-come"),
        pytest.param("stranded", [*[WAITING] * 9, WORKING], None, id="one-came"),
    ],
)
def test_a_rule_looks_at_its_minutes_in_a_row(
    rule: str, minutes: list[Minute | None], tasks: int | None
) -> None:
    assert named(rule).tasks(minutes) == tasks


@given(st.lists(st.one_of(st.none(), MINUTES), max_size=40))
def test_workers_are_never_all_ended_in_a_minute_with_a_job(minutes: list[Minute | None]) -> None:
    ending = [rule for rule in rules(Gpu(idle_minutes=1)) if rule.tasks(minutes) == 0]

    assert not ending or (minutes[-1] is not None and minutes[-1].visible + minutes[-1].hidden == 0)
