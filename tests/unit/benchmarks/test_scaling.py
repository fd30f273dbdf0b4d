"""Days that the scaling rules are played through."""

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scaling.day import DAY_S, arrivals
from benchmarks.scaling.picture import draw
from benchmarks.scaling.simulation import Day, World
from onnxlift.hosting import Gpu

HOURS_S = 3 * 3600
JOBS = st.lists(st.integers(0, HOURS_S), max_size=60).map(sorted)
GPUS = st.builds(
    Gpu,
    max_tasks=st.integers(1, 4),
    jobs_per_task=st.integers(1, 20),
    idle_minutes=st.integers(1, 20),
    max_batch_size=st.integers(1, 8),
)
WORLDS = st.builds(
    World,
    start_s=st.integers(30, 600),
    metric_s=st.integers(30, 180),
    batch_s=st.floats(0.1, 200),
    job_s=st.floats(0, 30),
    wakes=st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(told=JOBS, gpu=GPUS, world=WORLDS)
def test_every_job_ends_once_and_no_worker_is_ended_while_it_works(
    told: list[int], gpu: Gpu, world: World
) -> None:
    outcome = Day(told, gpu, world).play(HOURS_S)

    assert set(outcome.ended) == set(outcome.began) == set(range(len(told)))
    assert all(outcome.ended[job] >= outcome.began[job] >= told[job] for job in outcome.began)
    assert outcome.ended_while_working == 0


@settings(max_examples=25, deadline=None)
@given(told=JOBS, gpu=GPUS, world=WORLDS)
def test_workers_end_when_nothing_is_left_to_do(told: list[int], gpu: Gpu, world: World) -> None:
    outcome = Day(told, gpu, world).play(HOURS_S)

    # A task that was told to go may end its batch beside the one that was started for what came
    # then.
    assert max(outcome.tasks) <= 2 * gpu.max_tasks
    assert bool(outcome.paid_s) is bool(told)


def test_a_woken_worker_is_not_ended_by_the_rules_before_it_works() -> None:
    gpu, world = Gpu(idle_minutes=5), World()

    outcome = Day([60, 3 * 3600], gpu, world).play(HOURS_S)

    waited = {outcome.began[job] - submitted for job, submitted in enumerate([60, 3 * 3600])}
    assert waited == {world.start_s}


def test_a_queue_that_nobody_used_for_hours_wakes_late_without_a_word_at_submission() -> None:
    late = [60, 9 * 3600]

    slow = Day(late, Gpu(), World(wakes=False)).play(10 * 3600)
    quick = Day(late, Gpu(), World()).play(10 * 3600)

    assert slow.began[1] - late[1] > 15 * 60
    assert quick.began[1] - late[1] == World().start_s


def test_the_default_day_costs_less_than_a_machine_that_never_ends() -> None:
    told = arrivals()

    outcome = Day(told, Gpu(), World()).play(DAY_S)

    assert len(outcome.ended) == len(told)
    assert outcome.paid_s < DAY_S


def test_the_picture_says_in_words_what_it_shows() -> None:
    picture = draw([0, 3, 3, 0], [0, 1, 1, 0])

    assert picture.startswith("<svg")
    assert "up to 3 jobs wait, up to 1 workers run" in picture
