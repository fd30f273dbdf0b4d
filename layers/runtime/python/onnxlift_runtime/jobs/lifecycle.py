"""The life of a job, pure: what may follow what, who may say so, and when.

::

    QUEUED ──claim──▶ RUNNING ──succeed──▶ SUCCEEDED
     ▲ │ ▲              │ │ └────fail────▶ FAILED ───┐
     │ │ └───release────┘ │                          │
     │ ├───expire──▶ EXPIRED ────────────────────────┤
     │ └───cancel──▶ CANCELED ◀──cancel── RUNNING ───┤
     └───────────────────────retry───────────────────┘

Every transition takes a job and returns the next one, its ``revision`` one higher. The table writes
it on the condition that the stored revision is still the old one: of two racing transitions exactly
one happens, the other is told why not. A worker holds a lease, named by owner and attempt; only its
holder may finish the job, and a lease that ran out may be claimed again. A worker gives a job back
by ``release`` after a failure of the attempt, and by ``hand_back`` where the attempt was not at
fault, which returns it. What ended neither way ended with its worker: ``deaths`` counts that.
``escalate`` queues a job on another tier, once, because the one that it was on is too small for it.
All times are whole milliseconds since the epoch.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from onnxlift_runtime.errors import JobConflict, LeaseLost
from onnxlift_runtime.jobs.job import MAX_ATTEMPTS, Job, JobStatus, Payload

Transition = Callable[[Job], Job]


def claim(job: Job, owner: str, now_ms: int, lease_ms: int, tier: str = "") -> Job:
    """Take a queued job, or one whose worker let its lease run out; uses up one attempt.

    ``owner`` names this very claim: made twice, because its answer got lost, it is one. ``tier`` is
    the worker's, "" for any. Raises ``JobConflict`` where the job ended, expired, is held by
    somebody else or has moved to another tier.
    """
    if job.final:
        raise JobConflict(f"job {job.id} is {job.status}, nothing is left to do")
    if tier not in ("", job.tier):
        raise JobConflict(f"job {job.id} has moved to tier {job.tier}")
    if job.status is JobStatus.RUNNING and now_ms < job.lease_until_ms:
        if job.lease_owner == owner:
            return job
        raise JobConflict(f"job {job.id} is held by another worker until {job.lease_until_ms}")
    if job.status is JobStatus.QUEUED and now_ms >= job.expires_ms:
        raise JobConflict(f"job {job.id} waited longer than its time limit")
    if job.attempts_left <= 0:
        raise JobConflict(f"job {job.id} has used its attempts")
    return _next(
        job,
        status=JobStatus.RUNNING,
        attempt=job.attempt + 1,
        attempts_left=job.attempts_left - 1,
        deaths=job.deaths + (job.status is JobStatus.RUNNING),
        lease_owner=owner,
        lease_until_ms=now_ms + lease_ms,
        started_ms=now_ms,
    )


def renew(job: Job, held: Job, now_ms: int, lease_ms: int) -> Job:
    """Prolong the lease that ``held`` (the job as it was claimed) stands for; raises
    ``LeaseLost``.
    """
    _check_lease(job, held)
    return _next(job, lease_until_ms=max(job.lease_until_ms, now_ms + lease_ms))


def succeed(job: Job, held: Job, result: Payload, now_ms: int) -> Job:
    """Publish the result of the attempt that ``held`` stands for; raises ``LeaseLost``."""
    _check_lease(job, held)
    return _end(job, JobStatus.SUCCEEDED, now_ms, result=result, error="")


def fail(job: Job, held: Job, error: str, now_ms: int) -> Job:
    """End the attempt that ``held`` stands for with a failure that trying again cannot mend; raises
    ``LeaseLost``.
    """
    _check_lease(job, held)
    return _end(job, JobStatus.FAILED, now_ms, error=error)


def release(job: Job, held: Job, error: str, now_ms: int) -> Job:
    """Give the job back after a failure that may pass; without attempts left it has failed. Raises
    ``LeaseLost``.
    """
    _check_lease(job, held)
    if job.attempts_left <= 0:
        return _end(job, JobStatus.FAILED, now_ms, error=error)
    return _next(job, status=JobStatus.QUEUED, lease_owner="", lease_until_ms=0, error=error)


def hand_back(job: Job, held: Job, error: str, now_ms: int) -> Job:
    """Give the job back with the attempt that it was claimed for: its worker ends, or cannot run
    its model.

    Where it waited too long by now it expires. Raises ``LeaseLost``.
    """
    _check_lease(job, held)
    back = replace(
        job,
        status=JobStatus.QUEUED,
        lease_owner="",
        lease_until_ms=0,
        attempts_left=job.attempts_left + 1,
    )
    return expire(back, now_ms) if has_expired(back, now_ms) else _next(back, error=error)


def reclaim(job: Job, now_ms: int) -> Job:
    """Take a job from a worker that let its lease run out; without attempts left it has failed.

    Raises ``JobConflict`` while somebody works on it, or where nobody does.
    """
    if job.status is not JobStatus.RUNNING or now_ms < job.lease_until_ms:
        raise JobConflict(f"job {job.id} is {job.status}, and not held beyond its lease")
    deaths = job.deaths + 1
    often = f", {deaths} times, all but the first with no other job in hand" if deaths > 1 else ""
    return release(
        replace(job, deaths=deaths), job, f"the worker died before it had an answer{often}", now_ms
    )


def escalate(job: Job, tier: str, reason: str, now_ms: int) -> Job:
    """Queue a job on another tier with all its attempts and time, because the one that it is on is
    too small for it.

    Raises ``JobConflict`` where it ended, is on that tier already, or a worker still holds it: so
    it happens once.
    """
    if job.final:
        raise JobConflict(f"job {job.id} is already {job.status}")
    if job.tier == tier:
        raise JobConflict(f"job {job.id} is on tier {tier} already")
    if job.status is JobStatus.RUNNING and now_ms < job.lease_until_ms:
        raise JobConflict(f"job {job.id} is held by a worker until {job.lease_until_ms}")
    return _next(
        job,
        status=JobStatus.QUEUED,
        tier=tier,
        reason=reason,
        attempts_left=MAX_ATTEMPTS,
        deaths=0,
        expires_ms=max(job.expires_ms, now_ms + (job.expires_ms - job.created_ms)),
        lease_owner="",
        lease_until_ms=0,
        error="",
    )


def abandon(job: Job, error: str, now_ms: int) -> Job:
    """End a job whose message will not come again; raises ``JobConflict`` while a worker still
    holds it.
    """
    if job.final:
        raise JobConflict(f"job {job.id} is already {job.status}")
    if job.status is JobStatus.RUNNING and now_ms < job.lease_until_ms:
        raise JobConflict(f"job {job.id} is held by a worker until {job.lease_until_ms}")
    return _end(job, JobStatus.FAILED, now_ms, error=error)


def expire(job: Job, now_ms: int) -> Job:
    """End a job that nobody started within its time limit; raises ``JobConflict``."""
    if not has_expired(job, now_ms):
        raise JobConflict(f"job {job.id} is {job.status} and within its time limit")
    return _end(
        job, JobStatus.EXPIRED, now_ms, error="nobody could start the job within its time limit"
    )


def has_expired(job: Job, now_ms: int) -> bool:
    """Whether the job still waits although its time limit has passed."""
    return job.status is JobStatus.QUEUED and now_ms >= job.expires_ms


def cancel(job: Job, now_ms: int) -> Job:
    """Stop a job that has not ended; the worker that holds it loses its lease. Raises
    ``JobConflict``.
    """
    if job.status is JobStatus.CANCELED:
        return job
    if job.final:
        raise JobConflict(f"job {job.id} is already {job.status}")
    return _end(job, JobStatus.CANCELED, now_ms, error="canceled by the caller")


def retry(job: Job, now_ms: int) -> Job:
    """Queue a job again that failed, expired or was canceled, with all its attempts; raises
    ``JobConflict``.
    """
    if not job.final or job.status is JobStatus.SUCCEEDED:
        raise JobConflict(
            f"job {job.id} is {job.status}, only FAILED, EXPIRED and CANCELED jobs can be retried"
        )
    return _next(
        job,
        status=JobStatus.QUEUED,
        attempts_left=MAX_ATTEMPTS,
        expires_ms=now_ms + (job.expires_ms - job.created_ms),
        finished_ms=0,
        error="",
        webhook_tries=0,
        webhook_error="",
        webhook_delivered_ms=0,
    )


def note_webhook(job: Job, ended: Job, error: str, now_ms: int) -> Job:
    """Keep how a try went to deliver the webhook of an end, "" for well; raises ``JobConflict``
    after a retry.
    """
    if not job.final or job.finished_ms != ended.finished_ms:
        raise JobConflict(f"job {job.id} did not end at {ended.finished_ms}, or was retried since")
    delivered_ms = job.webhook_delivered_ms if error else now_ms
    return _next(
        job,
        webhook_tries=job.webhook_tries + 1,
        webhook_error=error,
        webhook_delivered_ms=delivered_ms,
    )


def _check_lease(job: Job, held: Job) -> None:
    """A lease that ran out still counts until somebody else claims the job: its work is as good as
    any.
    """
    mine = (job.lease_owner, job.attempt) == (held.lease_owner, held.attempt)
    if job.status is not JobStatus.RUNNING or not mine:
        raise LeaseLost(
            f"job {job.id} is {job.status} in attempt {job.attempt}, not held in attempt "
            f"{held.attempt}"
        )


def _end(job: Job, status: JobStatus, now_ms: int, **changes: Any) -> Job:
    return _next(
        job, status=status, finished_ms=now_ms, lease_owner="", lease_until_ms=0, **changes
    )


def _next(job: Job, **changes: Any) -> Job:
    return replace(job, revision=job.revision + 1, **changes)
