"""The life of a job: every transition that is allowed, every one that is not, and what random
histories keep.
"""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.errors import JobConflict, LeaseLost
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs.job import MAX_ATTEMPTS, Job, JobStatus, Payload, job_id
from tests.support.errors import raises

LEASE_MS = 1_000
RESULT = Payload.of(b"42", {})


def queued(**changes: int | str) -> Job:
    fields = {
        "id": "j",
        "caller": "me",
        "model": "m",
        "version": "1",
        "created_ms": 0,
        "expires_ms": 10_000,
    }
    return Job(payload=Payload.of(b"{}", {}), **(fields | changes))  # type: ignore[arg-type]


def running(now_ms: int = 100) -> Job:
    return lifecycle.claim(queued(), "a", now_ms, LEASE_MS)


def test_a_job_succeeds_with_its_result() -> None:
    held = running()

    ended = lifecycle.succeed(held, held, RESULT, 200)

    assert (ended.status, ended.result, ended.finished_ms, ended.attempt) == (
        JobStatus.SUCCEEDED,
        RESULT,
        200,
        1,
    )
    assert ended.revision == 3


def test_a_second_claim_waits_for_the_lease_to_run_out() -> None:
    held = running(now_ms=100)

    with raises(JobConflict, "another worker"):
        lifecycle.claim(held, "b", 100 + LEASE_MS - 1, LEASE_MS)
    again = lifecycle.claim(held, "b", 100 + LEASE_MS, LEASE_MS)

    assert (again.attempt, again.lease_owner) == (2, "b")


def test_a_worker_whose_job_was_claimed_by_another_cannot_finish_it() -> None:
    held = running(now_ms=100)
    other = lifecycle.claim(held, "b", 5_000, LEASE_MS)

    finishes: tuple[Callable[[], Job], ...] = (
        lambda: lifecycle.succeed(other, held, RESULT, 5_100),
        lambda: lifecycle.fail(other, held, "broken", 5_100),
        lambda: lifecycle.release(other, held, "broken", 5_100),
        lambda: lifecycle.hand_back(other, held, "stopping", 5_100),
        lambda: lifecycle.renew(other, held, 5_100, LEASE_MS),
    )
    for finish in finishes:
        with pytest.raises(LeaseLost):
            finish()


def test_a_late_worker_may_finish_while_nobody_else_has_claimed() -> None:
    held = running(now_ms=100)

    ended = lifecycle.succeed(held, held, RESULT, 100 + 10 * LEASE_MS)

    assert ended.status is JobStatus.SUCCEEDED


def test_release_queues_again_until_the_attempts_are_used() -> None:
    job, seen = queued(), []

    for turn in range(MAX_ATTEMPTS):
        job = lifecycle.claim(job, "a", turn, LEASE_MS)
        job = lifecycle.release(job, job, "store away", turn)
        seen.append(job.status)

    assert seen == [JobStatus.QUEUED] * (MAX_ATTEMPTS - 1) + [JobStatus.FAILED]
    assert job.error == "store away"


def test_what_ended_with_its_worker_is_counted_and_nothing_else_is() -> None:
    handed_back = lifecycle.hand_back(held := running(), held, "the worker stops", 200)
    released = lifecycle.release(held, held, "store away", 200)

    claimed_again = lifecycle.claim(held, "b", 100 + LEASE_MS, LEASE_MS)
    reclaimed = lifecycle.reclaim(claimed_again, 100 + 2 * LEASE_MS)

    assert [job.deaths for job in (handed_back, released, claimed_again, reclaimed)] == [0, 0, 1, 2]
    assert lifecycle.claim(reclaimed, "c", 5_000, LEASE_MS).deaths == 2
    assert lifecycle.escalate(reclaimed, "gpu", "too large", 5_000).deaths == 0


def test_a_job_that_only_met_deaths_tells_so() -> None:
    job = queued(expires_ms=10**6)

    for turn in range(1, MAX_ATTEMPTS + 1):
        job = lifecycle.reclaim(lifecycle.claim(job, f"w{turn}", turn, LEASE_MS), turn + LEASE_MS)

    assert job.status is JobStatus.FAILED
    assert (
        job.error
        == "the worker died before it had an answer, 3 times, all but the first with no other job "
        "in hand"
    )


def test_a_claim_made_twice_is_one() -> None:
    held = running(now_ms=100)

    assert lifecycle.claim(held, "a", 200, LEASE_MS) is held


def test_handing_back_costs_no_attempt_however_often() -> None:
    job = queued()

    for turn in range(3 * MAX_ATTEMPTS):
        job = lifecycle.claim(job, "a", turn, LEASE_MS)
        job = lifecycle.hand_back(job, job, "the worker stops", turn)

    assert (job.status, job.attempts_left, job.attempt) == (
        JobStatus.QUEUED,
        MAX_ATTEMPTS,
        3 * MAX_ATTEMPTS,
    )
    assert job.error == "the worker stops"


def test_a_job_handed_back_after_its_time_limit_expires() -> None:
    held = running()

    ended = lifecycle.hand_back(held, held, "the worker stops", held.expires_ms)

    assert (ended.status, ended.revision) == (JobStatus.EXPIRED, held.revision + 1)


def test_cancel_of_a_running_job_takes_the_lease_away() -> None:
    held = running()

    canceled = lifecycle.cancel(held, 300)

    assert canceled.status is JobStatus.CANCELED
    with pytest.raises(LeaseLost):
        lifecycle.succeed(canceled, held, RESULT, 400)


def test_cancel_twice_is_one_cancel() -> None:
    canceled = lifecycle.cancel(queued(), 1)

    assert lifecycle.cancel(canceled, 2) is canceled


@pytest.mark.parametrize("end", [JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.EXPIRED])
def test_cancel_of_an_ended_job_tells_how_it_ended(end: JobStatus) -> None:
    ended = queued(status=end)

    with raises(JobConflict, end):
        lifecycle.cancel(ended, 1)


def test_a_job_expires_at_its_limit_and_not_before() -> None:
    job = queued(expires_ms=500)

    with pytest.raises(JobConflict):
        lifecycle.expire(job, 499)
    with raises(JobConflict, "time limit"):
        lifecycle.claim(job, "a", 500, LEASE_MS)

    assert lifecycle.expire(job, 500).status is JobStatus.EXPIRED


def test_retry_gives_attempts_and_time_anew() -> None:
    expired = lifecycle.expire(queued(expires_ms=500), 600)

    again = lifecycle.retry(expired, 1_000)

    assert (again.status, again.attempts_left, again.expires_ms) == (
        JobStatus.QUEUED,
        MAX_ATTEMPTS,
        1_500,
    )
    assert (again.error, again.finished_ms) == ("", 0)


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.SUCCEEDED])
def test_retry_refuses_what_is_not_over_or_went_well(status: JobStatus) -> None:
    with raises(JobConflict, status, "FAILED, EXPIRED and CANCELED"):
        lifecycle.retry(queued(status=status), 1)


def test_abandon_leaves_a_job_alone_that_a_worker_holds() -> None:
    held = running(now_ms=0)

    with raises(JobConflict, "held"):
        lifecycle.abandon(held, "dead letter", LEASE_MS - 1)

    assert lifecycle.abandon(held, "dead letter", LEASE_MS).error == "dead letter"


@given(st.text(), st.text(), st.text(), st.text())
def test_job_ids_differ_for_other_callers_and_keys(
    caller: str, key: str, other_caller: str, other_key: str
) -> None:
    same = (caller, key) == (other_caller, other_key)

    assert (job_id(caller, key) == job_id(other_caller, other_key)) == same


Step = Callable[[Job, Job, int], Job]
STEPS: dict[str, Step] = {
    "claim": lambda job, _held, now: lifecycle.claim(job, f"w{now}", now, LEASE_MS),
    "renew": lambda job, held, now: lifecycle.renew(job, held, now, LEASE_MS),
    "succeed": lambda job, held, now: lifecycle.succeed(job, held, RESULT, now),
    "fail": lambda job, held, now: lifecycle.fail(job, held, "failed", now),
    "release": lambda job, held, now: lifecycle.release(job, held, "released", now),
    "hand_back": lambda job, held, now: lifecycle.hand_back(job, held, "handed back", now),
    "abandon": lambda job, _held, now: lifecycle.abandon(job, "abandoned", now),
    "expire": lambda job, _held, now: lifecycle.expire(job, now),
    "cancel": lambda job, _held, now: lifecycle.cancel(job, now),
    "retry": lambda job, _held, now: lifecycle.retry(job, now),
}


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 2_000), st.integers(0, 9)),
        max_size=40,
    )
)
def test_random_histories_keep_what_callers_rely_on(history: list[tuple[str, int, int]]) -> None:
    job, now, leases = queued(expires_ms=20_000), 0, [queued()]

    for name, pause_ms, which in history:
        now += pause_ms
        before = job
        try:
            job = STEPS[name](job, leases[which % len(leases)], now)
        except (JobConflict, LeaseLost):
            continue
        if name == "claim":
            leases.append(job)
        assert job is before or job.revision == before.revision + 1
        assert before.status is not JobStatus.SUCCEEDED or job is before, (
            "a published result never changes"
        )
        assert (job.result is not None) == (job.status is JobStatus.SUCCEEDED)
        assert bool(job.lease_owner) == (job.status is JobStatus.RUNNING)
        assert bool(job.finished_ms) <= job.final
        assert 0 <= job.attempts_left <= MAX_ATTEMPTS
        assert job.attempt >= before.attempt
        assert not before.final or job is before or name == "retry"


def test_a_job_on_its_way_to_another_tier_starts_anew_and_goes_there_once() -> None:
    held = running(now_ms=100)

    moved = lifecycle.escalate(held, "gpu", "too large", 100 + LEASE_MS)

    assert (moved.status, moved.tier, moved.reason) == (JobStatus.QUEUED, "gpu", "too large")
    assert (moved.attempts_left, moved.lease_owner, moved.revision) == (
        MAX_ATTEMPTS,
        "",
        held.revision + 1,
    )
    assert moved.expires_ms == 100 + LEASE_MS + 10_000
    with raises(JobConflict, "gpu", "already"):
        lifecycle.escalate(moved, "gpu", "too large", 5_000)
    with pytest.raises(LeaseLost):
        lifecycle.succeed(moved, held, RESULT, 5_000)
    with raises(JobConflict, "gpu", "moved"):
        lifecycle.claim(moved, "b", 5_000, LEASE_MS, "lambda")
    assert lifecycle.claim(moved, "b", 5_000, LEASE_MS, "gpu").attempt == 2


def test_a_job_that_is_held_or_ended_does_not_move() -> None:
    held = running(now_ms=100)

    with raises(JobConflict, "held"):
        lifecycle.escalate(held, "gpu", "too large", 100 + LEASE_MS - 1)
    with raises(JobConflict, "SUCCEEDED"):
        lifecycle.escalate(lifecycle.succeed(held, held, RESULT, 200), "gpu", "too large", 5_000)
