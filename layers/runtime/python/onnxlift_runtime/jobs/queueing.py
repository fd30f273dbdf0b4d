"""Jobs that wait, pure: when one will start, and which of them nobody will bring to a worker any
more.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from onnxlift_runtime.errors import MalformedRequest
from onnxlift_runtime.jobs.job import Job, JobStatus
from onnxlift_runtime.jobs.lifecycle import has_expired

# A message that was sent is in the queue, or with a worker, well within this time.
LOST_AFTER_MS: Final = 120_000


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is to be done with the jobs of one queue."""

    expired: tuple[Job, ...]
    lapsed: tuple[Job, ...]
    lost: tuple[Job, ...]


def encode_job_message(job: Job) -> str:
    """The message of a job: its id alone, so that the table is the one place that says what it
    is.
    """
    return json.dumps({"job": job.id})


def decode_job_message(body: str) -> str:
    """The job id of a message; raises ``MalformedRequest``."""
    try:
        document = json.loads(body)
    except ValueError as error:
        raise MalformedRequest(f"the message is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("job"), str):
        raise MalformedRequest("the message has no 'job'")
    job_id: str = document["job"]
    return job_id


def estimate_start_ms(now_ms: int, ahead: int, job_ms: float, workers: int) -> int:
    """When a job starts that has ``ahead`` others before it, each of which takes ``job_ms`` on one
    of ``workers``.
    """
    return now_ms + round(ahead * job_ms / workers)


def plan_sweep(overdue: Iterable[Job], unfinished: int, messages: int, now_ms: int) -> Sweep:
    """Sort out jobs that waited too long, whose worker let its lease run out, and whose message is
    gone.

    ``overdue`` are at least those of the ``unfinished`` jobs of a queue that any of it may be true
    of. ``messages`` is about how many messages the queue has, those with workers included. Where
    there are fewer than jobs, as many of the oldest jobs are taken for lost; one that was not gets
    a second message, which does no harm.
    """
    jobs = sorted(overdue, key=lambda job: job.created_ms)
    expired = tuple(job for job in jobs if has_expired(job, now_ms))
    lapsed = tuple(
        job for job in jobs if job.status is JobStatus.RUNNING and now_ms >= job.lease_until_ms
    )
    live = [job for job in jobs if not has_expired(job, now_ms)]
    return Sweep(expired, lapsed, _lost(live, unfinished - len(expired) - messages, now_ms))


def _lost(jobs: Sequence[Job], missing: int, now_ms: int) -> tuple[Job, ...]:
    waiting = [
        job
        for job in jobs
        if job.status is JobStatus.QUEUED and now_ms - job.created_ms >= LOST_AFTER_MS
    ]
    return tuple(waiting[: max(0, missing)])
