from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.jobs.job import Job, JobStatus, Payload
from onnxlift_runtime.jobs.queueing import LOST_AFTER_MS, estimate_start_ms, plan_sweep

NOW_MS = 10**9
JOBS = st.builds(
    Job,
    id=st.uuids().map(str),
    caller=st.just("c"),
    model=st.just("m"),
    version=st.just("1"),
    payload=st.just(Payload.of(b"", {})),
    created_ms=st.integers(NOW_MS - 2 * LOST_AFTER_MS, NOW_MS),
    expires_ms=st.integers(NOW_MS - 5, NOW_MS + 5),
    status=st.sampled_from([JobStatus.QUEUED, JobStatus.RUNNING]),
    lease_until_ms=st.integers(NOW_MS - 5, NOW_MS + 5),
)


@given(st.lists(JOBS, max_size=12), st.integers(0, 12))
def test_a_sweep_touches_each_job_for_one_reason_at_most(found: list[Job], messages: int) -> None:
    plan = plan_sweep(found, len(found), messages, NOW_MS)

    touched = [job.id for job in (*plan.expired, *plan.lapsed, *plan.lost)]
    assert len(touched) == len(set(touched))
    assert {job.id for job in plan.expired} == {
        job.id for job in found if job.status is JobStatus.QUEUED and job.expires_ms <= NOW_MS
    }
    assert {job.id for job in plan.lapsed} == {
        job.id for job in found if job.status is JobStatus.RUNNING and job.lease_until_ms <= NOW_MS
    }


@given(st.lists(JOBS, max_size=12), st.integers(0, 12))
def test_a_sweep_resends_the_oldest_and_no_more_than_are_missing(
    found: list[Job], messages: int
) -> None:
    plan = plan_sweep(found, len(found), messages, NOW_MS)

    live = len(found) - len(plan.expired)
    assert len(plan.lost) <= max(0, live - messages)
    assert all(NOW_MS - job.created_ms >= LOST_AFTER_MS for job in plan.lost)
    assert list(plan.lost) == sorted(plan.lost, key=lambda job: job.created_ms)


@given(st.integers(0, 10**6), st.floats(0, 10**5), st.integers(1, 1000))
def test_a_job_starts_later_the_more_are_before_it(ahead: int, job_ms: float, workers: int) -> None:
    start = estimate_start_ms(NOW_MS, ahead, job_ms, workers)

    assert NOW_MS <= start <= estimate_start_ms(NOW_MS, ahead + 1, job_ms, workers)
    assert estimate_start_ms(NOW_MS, 0, job_ms, workers) == NOW_MS
