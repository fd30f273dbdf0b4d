"""A job and its parts, as frozen values; ``lifecycle`` says how one becomes the next."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import NAMESPACE_URL, uuid5

MAX_ATTEMPTS: Final = 3
DEFAULT_TTL_MS: Final = 6 * 3600 * 1000  # SageMaker's RequestTTLSeconds default


class JobStatus(StrEnum):
    """Where a job is in its life; the last four are final until somebody retries."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    CANCELED = "CANCELED"


FINAL: Final = frozenset(
    {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.EXPIRED, JobStatus.CANCELED}
)


@dataclass(frozen=True, slots=True)
class Payload:
    """A body with the headers that give it meaning: by value in ``body``, or by reference in
    ``bucket`` and ``key``.

    ``sha256`` is that of the body in either case; ``size_bytes`` its length.
    """

    headers: Mapping[str, str]
    sha256: str
    size_bytes: int
    body: bytes | None = None
    bucket: str = ""
    key: str = ""
    object_version: str = ""

    @classmethod
    def of(cls, body: bytes, headers: Mapping[str, str]) -> "Payload":
        """A payload by value."""
        return cls(dict(headers), hashlib.sha256(body).hexdigest(), len(body), body)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where else a finished job is told, beside its record; each empty field means not there.

    ``output_key`` lacks the suffix, which says how the job ended; of two jobs with the same key the
    one with the higher ``output_order`` is the newer. A job that is ``part`` number n of ``whole``
    tells that job.
    """

    output_key: str = ""
    reply_queue: str = ""
    webhook: str = ""
    output_order: str = ""
    whole: str = ""
    part: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One inference that is answered later."""

    id: str
    caller: str
    model: str
    version: str
    payload: Payload
    created_ms: int
    expires_ms: int
    status: JobStatus = JobStatus.QUEUED
    tier: str = "lambda"
    reason: str = ""
    revision: int = 1
    attempt: int = 0
    attempts_left: int = MAX_ATTEMPTS
    deaths: int = 0
    lease_owner: str = ""
    lease_until_ms: int = 0
    started_ms: int = 0
    finished_ms: int = 0
    result: Payload | None = None
    error: str = ""
    delivery: Delivery = field(default_factory=Delivery)
    webhook_tries: int = 0
    webhook_error: str = ""
    webhook_delivered_ms: int = 0

    @property
    def final(self) -> bool:
        """Whether nothing will happen any more by itself."""
        return self.status in FINAL


def job_id(caller: str, idempotency_key: str) -> str:
    """The id that this caller's key always gives: a name-based UUID (RFC 9562, version 5)."""
    return str(uuid5(NAMESPACE_URL, f"onnxlift:{len(caller)}:{caller}:{idempotency_key}"))
