"""Jobs as callers and functions see them: submit, look, cancel, retry, fetch the result."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from onnxlift_runtime.aws.objects import ObjectStore, payload_key
from onnxlift_runtime.aws.queues import Queues
from onnxlift_runtime.aws.table import JobTable
from onnxlift_runtime.errors import JobConflict, JobNotFound
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs.job import DEFAULT_TTL_MS, Delivery, Job, JobStatus, Payload, job_id
from onnxlift_runtime.jobs.metrics import Meter
from onnxlift_runtime.jobs.retention import DAY_MS, kept_until_ms
from onnxlift_runtime.settings import DEFAULT_LIMITS, Limits


def now_ms() -> int:
    """The time in whole milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Submission:
    """What a caller asks to have done; ``key`` is its idempotency key, "" for none."""

    caller: str
    model: str
    version: str
    payload: Payload
    key: str = ""
    tier: str = "lambda"
    reason: str = ""
    ttl_ms: int = DEFAULT_TTL_MS
    delivery: Delivery = field(default_factory=Delivery)


@dataclass(frozen=True, slots=True)
class JobService:
    """The table, the bucket and the queues as one, what measures them, and what bounds requests."""

    table: JobTable
    store: ObjectStore
    queues: Queues
    clock: Callable[[], int] = now_ms
    meter: Meter = field(default_factory=Meter)
    limits: Limits = DEFAULT_LIMITS

    def submit(self, asked: Submission) -> Job:
        """Store and queue a job; the same idempotency key gives the same job.

        Should the process die before the message is sent, the sweep sends it. Raises
        ``JobConflict`` where the key was used for another request.
        """
        job = self.record(asked)
        if job.status is JobStatus.QUEUED:
            self.queues.send(job)
        return job

    def record(self, asked: Submission) -> Job:
        """Store a job whose message somebody else will send; otherwise as ``submit``."""
        return self._insert(self._new(asked), asked)

    def refuse(self, asked: Submission, why: str) -> Job:
        """Store a job that has failed already, so that whoever sent what cannot be run learns
        why.
        """
        return self._insert(lifecycle.abandon(self._new(asked), why, self.clock()), asked)

    def get(self, job_id: str, caller: str | None) -> Job:
        """A caller's own job, with None anybody's, expired where its time limit has passed; raises
        ``JobNotFound``.

        A caller's record is gone once its time is over, whenever DynamoDB deletes it.
        """
        job = self.table.get(job_id, caller)
        if caller is not None and self._is_over(job):
            raise JobNotFound(f"job {job_id!r} does not exist")
        return self.expire(job) if lifecycle.has_expired(job, self.clock()) else job

    def cancel(self, job_id: str, caller: str) -> Job:
        """Stop a job; raises ``JobNotFound``, or ``JobConflict`` where it ended another way
        first.
        """
        found = self.table.get(job_id, caller)
        return self.table.change(
            job_id, lambda job: lifecycle.cancel(job, self.clock()), seen=found
        )

    def retry(self, job_id: str, caller: str) -> Job:
        """Queue a job again that failed, expired or was canceled; raises ``JobNotFound`` or
        ``JobConflict``.
        """
        found = self.table.get(job_id, caller)
        queued = self.table.change(
            job_id, lambda job: lifecycle.retry(job, self.clock()), seen=found
        )
        self.queues.send(queued)
        return queued

    def expire(self, job: Job) -> Job:
        """End a job, just read, that waited too long, unless a worker was faster."""
        try:
            return self.table.change(
                job.id, lambda current: lifecycle.expire(current, self.clock()), seen=job
            )
        except JobConflict:
            return self.table.get(job.id)

    def note_expires_s(self) -> int:
        """When a note that is written now is deleted: after the jobs that it tells about."""
        return (self.clock() + 2 * self.table.keep_days * DAY_MS) // 1000

    def _is_over(self, job: Job) -> bool:
        until_ms = kept_until_ms(job, self.table.keep_days)
        return job.final and self.clock() >= until_ms

    def _insert(self, job: Job, asked: Submission) -> Job:
        """Store a new job; returns the one that its idempotency key gave before, where it did."""
        job = replace(job, payload=self.store.keep(job.payload, payload_key(job)))
        if self.table.insert(job):
            return job
        stored = self.table.get(job.id, asked.caller)
        if not _same_request(stored, job):
            raise JobConflict(
                f"the idempotency key {asked.key!r} was used for another request (job {job.id})"
            )
        return stored

    def _new(self, asked: Submission) -> Job:
        created_ms = self.clock()
        return Job(
            id=job_id(asked.caller, asked.key) if asked.key else str(uuid.uuid4()),
            caller=asked.caller,
            model=asked.model,
            version=asked.version,
            payload=asked.payload,
            created_ms=created_ms,
            expires_ms=created_ms + asked.ttl_ms,
            tier=asked.tier,
            reason=asked.reason,
            delivery=asked.delivery,
        )


def describe(
    job: Job, *, position: int | None = None, estimated_start_ms: int | None = None
) -> dict[str, Any]:
    """A job as the API tells it; times are milliseconds since the epoch, absent where they have not
    come.
    """
    told: dict[str, Any] = {
        "id": job.id,
        "model": job.model,
        "version": job.version,
        "status": str(job.status),
        "tier": job.tier,
        "reason": job.reason,
        "attempts": job.attempt,
        "created_ms": job.created_ms,
        "expires_ms": job.expires_ms,
        "started_ms": job.started_ms or None,
        "finished_ms": job.finished_ms or None,
        "error": job.error or None,
        "position": position,
        "estimated_start_ms": estimated_start_ms,
        "result": f"/v2/jobs/{job.id}/result" if job.status is JobStatus.SUCCEEDED else None,
        "webhook": _describe_webhook(job) if job.delivery.webhook else None,
    }
    return {name: value for name, value in told.items() if value is not None}


def _same_request(stored: Job, asked: Job) -> bool:
    """Whether two submissions under one idempotency key ask for the same thing."""
    return (stored.model, stored.version, stored.payload.sha256) == (
        asked.model,
        asked.version,
        asked.payload.sha256,
    )


def _describe_webhook(job: Job) -> dict[str, Any]:
    """How the delivery of a job's webhook goes: ``error`` is that of the last try."""
    told: dict[str, Any] = {"url": job.delivery.webhook, "tries": job.webhook_tries}
    told |= {"error": job.webhook_error} if job.webhook_error else {}
    return told | ({"delivered_ms": job.webhook_delivered_ms} if job.webhook_delivered_ms else {})
