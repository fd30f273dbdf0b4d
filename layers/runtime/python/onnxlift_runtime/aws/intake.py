"""An inference request as a job: submitted, waited for as long as its caller likes, and answered as far as it got."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from onnxlift_runtime.aws.service import JobService, Submission, describe
from onnxlift_runtime.errors import InferenceFailed, JobConflict, MalformedRequest
from onnxlift_runtime.http import HEADER_LENGTH, Request, Response
from onnxlift_runtime.jobs import Delivery, Job, JobStatus, Payload
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.preferences import Preference, decode_terms

ROUTE: Final = "X-Onnxlift-Route"
PREFERRED: Final = "the caller prefers a job (Prefer: respond-async)"
RETRY_AFTER_S: Final = 1
# The headers without which a body cannot be read.
_MEANINGFUL: Final = (HEADER_LENGTH.lower(), "content-encoding", "content-type")
_FIRST_LOOK_S: Final = 0.02
_SLOWEST_LOOK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Intake:
    """Where requests become jobs; ``webhooks`` says whether the service delivers them."""

    service: JobService
    webhooks: bool
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    def accept(self, request: Request, manifest: Manifest, preference: Preference, *, tier: str = "lambda") -> Response:
        """Submit a request that was checked, and answer it: 200 where the job ended in time, otherwise 202.

        Raises ``MalformedRequest``, ``JobConflict`` and, where the job failed in time, ``InferenceFailed``.
        """
        job = self._wait(self.service.submit(self._submission(request, manifest, tier)), preference.wait_s)
        answer = answer_result(self.service, job) if job.final and preference.wait_s else accepted(job)
        return answer.with_headers(
            {
                "Location": answer.headers.get("Location", f"/v2/jobs/{job.id}"),
                "Preference-Applied": preference.applied,
                ROUTE: route(tier, PREFERRED),
            }
        )

    def _submission(self, request: Request, manifest: Manifest, tier: str) -> Submission:
        terms = decode_terms(request.headers)
        if terms.webhook and not self.webhooks:
            raise MalformedRequest("this service delivers no webhooks; poll the job, or listen to its events")
        headers = {name: request.headers[name] for name in _MEANINGFUL if name in request.headers}
        return Submission(
            caller=request.caller,
            model=manifest.name,
            version=manifest.version,
            payload=Payload.of(request.body, headers),
            key=terms.key,
            tier=tier,
            reason=PREFERRED,
            ttl_ms=terms.ttl_ms,
            delivery=Delivery(webhook=terms.webhook),
        )

    def _wait(self, job: Job, wait_s: int) -> Job:
        """The job when it has ended, or as it is after ``wait_s``."""
        until, look_s = self.monotonic() + wait_s, _FIRST_LOOK_S
        while not job.final and (left_s := until - self.monotonic()) > 0:
            self.sleep(min(look_s, left_s))
            look_s = min(2 * look_s, _SLOWEST_LOOK_S)
            job = self.service.get(job.id, job.caller)
        return job


def route(tier: str, reason: str) -> str:
    """The value of ``X-Onnxlift-Route``: where a request is worked on, and why there."""
    return f'{tier}; reason="{reason}"'


def accepted(job: Job) -> Response:
    """The answer to a request that became a job."""
    return Response.json(describe(job), 202, {"Retry-After": str(RETRY_AFTER_S)})


def answer_result(service: JobService, job: Job) -> Response:
    """A job's result: itself up to 64 KB, otherwise where to fetch it (303).

    Raises ``JobConflict`` where there is none yet or never will be, and ``InferenceFailed`` where the job failed.
    """
    if job.status is JobStatus.FAILED:
        raise InferenceFailed(f"job {job.id} has failed: {job.error}")
    if job.result is None:
        told = f": {job.error}" if job.final else ", its result is there once it has SUCCEEDED"
        raise JobConflict(f"job {job.id} is {job.status}{told}")
    if job.result.body is not None:
        return Response(200, job.result.body, job.result.headers)
    told_length = {name: value for name, value in job.result.headers.items() if name == HEADER_LENGTH}
    return Response(303, b"", {"Location": service.store.presigned_get(job.result), **told_length})
