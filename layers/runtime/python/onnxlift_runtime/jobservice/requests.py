"""An inference request as a job: submitted, waited for as long as its caller likes, and answered as
far as it got.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from onnxlift_runtime.dataplane.routing import GPU_ALONE, HEADER, Pace, Route
from onnxlift_runtime.errors import InferenceFailed, JobConflict, MalformedRequest, ModelUnavailable
from onnxlift_runtime.http.message import HEADER_LENGTH, Request, Response
from onnxlift_runtime.jobs.job import Delivery, Job, JobStatus, Payload
from onnxlift_runtime.jobs.objects import FORMAT_HEADER
from onnxlift_runtime.jobs.preferences import WEBHOOK, Preference, Terms, decode_terms
from onnxlift_runtime.jobs.queueing import estimate_start_ms
from onnxlift_runtime.jobservice.service import JobService, Submission, describe
from onnxlift_runtime.manifest import Manifest

RETRY_AFTER_S: Final = 1
SLEEPING_RETRY_AFTER_S: Final = 30  # a GPU worker that has to be started is there after minutes
# How long a caller who said nothing waits for GPU workers that have time; the API waits for 29 s.
ORDINARY_WAIT_S: Final = 20
# The headers without which a body cannot be read.
_MEANINGFUL: Final = (HEADER_LENGTH.lower(), "content-encoding", "content-type")
_FIRST_LOOK_S: Final = 0.02
_SLOWEST_LOOK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Intake:
    """Where requests become jobs; ``webhooks`` are the schemes of the URLs that the service
    delivers them to.

    ``is_awake`` says whether some worker of a model on the GPU runs.
    """

    service: JobService
    webhooks: Sequence[str]
    is_awake: Callable[[str], bool] = lambda _model: True
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    def accept(
        self, request: Request, manifest: Manifest, preference: Preference, route: Route
    ) -> Response:
        """Submit a request that was checked, and answer it: 200 where the job ended in time,
        otherwise 202.

        A caller who said nothing waits for a model that runs on GPU workers alone where they have
        time. Raises ``MalformedRequest``, ``JobConflict`` and, where the job failed in time,
        ``InferenceFailed``.
        """
        job = self.service.submit(self._submission(request, manifest, route))
        wait_s = preference.wait_s or self._ordinary_wait_s(job, manifest, preference)
        job = self._wait(job, wait_s)
        if not (job.final and wait_s):
            answer = accepted(
                job, RETRY_AFTER_S if self.is_awake(job.model) else SLEEPING_RETRY_AFTER_S
            )
        else:
            answer = answer_result(self.service, job) if preference.job else self._whole_result(job)
        applied = {"Preference-Applied": preference.applied} if preference.job else {}
        location = answer.headers.get("Location", f"/v2/jobs/{job.id}")
        return answer.with_headers({"Location": location, **applied, HEADER: told_route(job)})

    def serve(self, request: Request, manifest: Manifest, verb: str, route: Route) -> Response:
        """Answer a request of TensorFlow Serving, whose protocol knows no jobs, with that of a job.

        Raises ``ModelUnavailable`` where it did not end in time; it is canceled then, for nobody
        could ask for it.
        """
        job = self.service.submit(self._submission(request, manifest, route, verb))
        job = self._wait(job, ORDINARY_WAIT_S)
        if job.final:
            return self._whole_result(job).with_headers({HEADER: told_route(job)})
        try:
            self.service.cancel(job.id, job.caller)
        except JobConflict:  # it ended just now
            return self._whole_result(self.service.get(job.id, job.caller)).with_headers(
                {HEADER: told_route(job)}
            )
        raise ModelUnavailable(
            f"no GPU worker answered within {ORDINARY_WAIT_S} s; try again, or POST "
            f"/v2/models/{manifest.name}/infer, "
            "which answers with a job",
            SLEEPING_RETRY_AFTER_S,
        )

    def _submission(
        self, request: Request, manifest: Manifest, route: Route, verb: str = ""
    ) -> Submission:
        # A protocol without jobs has no terms for them: by a key, the next try would get the job
        # that was canceled.
        terms = Terms() if verb else decode_terms(request.headers)
        self._check_webhook(terms.webhook)
        headers = {name: request.headers[name] for name in _MEANINGFUL if name in request.headers}
        headers |= {FORMAT_HEADER: verb} if verb else {}
        return Submission(
            caller=request.caller,
            model=manifest.name,
            version=manifest.version,
            payload=Payload.of(request.body, headers),
            key=terms.key,
            tier=route.tier,
            reason=route.reason,
            ttl_ms=terms.ttl_ms,
            delivery=Delivery(webhook=terms.webhook),
        )

    def _check_webhook(self, url: str) -> None:
        """Refuse now what would fail for hours, try after try, and end among the dead letters."""
        if url and not self.webhooks:
            raise MalformedRequest(
                "this service delivers no webhooks; poll the job, or listen to its events"
            )
        if url and urlsplit(url).scheme not in self.webhooks:
            raise MalformedRequest(
                f"{WEBHOOK} is {url[:200]!r}, this service delivers to {', '.join(self.webhooks)}"
            )

    def _ordinary_wait_s(self, job: Job, manifest: Manifest, preference: Preference) -> int:
        """How long a caller who said nothing is kept waiting: not at all where its job starts too
        late for that.
        """
        if preference.job or job.reason != GPU_ALONE or not self.is_awake(job.model):
            return 0
        pace = Pace.of(manifest.measurements.latency)
        starts_ms = estimate_start_ms(
            0, self.service.table.ahead(job), pace.time_ms(1) if pace else 0.0, 1
        )
        return ORDINARY_WAIT_S if starts_ms < ORDINARY_WAIT_S * 1000 else 0

    def _whole_result(self, job: Job) -> Response:
        """A job's result for callers who follow no redirect, as far as one response carries it."""
        result, max_bytes = job.result, self.service.limits.max_body_bytes
        if result is None or result.body is not None or result.size_bytes > max_bytes:
            return answer_result(self.service, job)
        return Response(200, self.service.store.fetch(result, result.size_bytes), result.headers)

    def _wait(self, job: Job, wait_s: int) -> Job:
        """The job when it has ended, or as it is after ``wait_s``."""
        until, look_s = self.monotonic() + wait_s, _FIRST_LOOK_S
        while not job.final and (left_s := until - self.monotonic()) > 0:
            self.sleep(min(look_s, left_s))
            look_s = min(2 * look_s, _SLOWEST_LOOK_S)
            job = self.service.get(job.id, job.caller)
        return job


def told_route(job: Job) -> str:
    """The value of ``X-Onnxlift-Route`` for a job: where it is worked on, and why there, as its
    record says.
    """
    return str(Route(job.tier, False, job.reason))


def accepted(job: Job, retry_after_s: int = RETRY_AFTER_S) -> Response:
    """The answer to a request that became a job."""
    return Response.json(describe(job), 202, {"Retry-After": str(retry_after_s)})


def answer_result(service: JobService, job: Job) -> Response:
    """A job's result: itself up to 64 KB, otherwise where to fetch it (303).

    Raises ``JobConflict`` where there is none yet or never will be, and ``InferenceFailed`` where
    the job failed.
    """
    if job.status is JobStatus.FAILED:
        raise InferenceFailed(f"job {job.id} has failed: {job.error}")
    if job.result is None:
        told = f": {job.error}" if job.final else ", its result is there once it has SUCCEEDED"
        raise JobConflict(f"job {job.id} is {job.status}{told}")
    if job.result.body is not None:
        return Response(200, job.result.body, job.result.headers)
    told_length = {
        name: value for name, value in job.result.headers.items() if name == HEADER_LENGTH
    }
    return Response(303, b"", {"Location": service.store.presigned_get(job.result), **told_length})
