"""Inferences that are answered later: submit one, follow it, fetch its result."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Unpack
from urllib.parse import quote, urlencode

import httpx

from onnxlift.client.answer import Answer, decode_answer
from onnxlift.client.requests import Terms, send_inference
from onnxlift.client.transport import Transport, read_document
from onnxlift_runtime.errors import ServiceUnreachable
from onnxlift_runtime.jobs.job import FINAL, JobStatus
from onnxlift_runtime.tensors.arrays import Array

# Looks become rarer each time: a short job is seen soon, and a long one costs few calls.
FIRST_LOOK_S: Final = 0.05
SLOWEST_LOOK_S: Final = 2.0
_LOOKS_APART: Final = 1.5


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as the service tells it; times are milliseconds since the epoch, 0 and "" where there
    is nothing yet.

    ``position`` counts the jobs ahead of one that is queued; -1 for any other.
    """

    id: str
    model: str
    version: str
    status: str
    tier: str = ""
    reason: str = ""
    attempts: int = 0
    created_ms: int = 0
    started_ms: int = 0
    finished_ms: int = 0
    position: int = -1
    estimated_start_ms: int = 0
    error: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing will happen any more by itself."""
        return self.status in FINAL

    @property
    def succeeded(self) -> bool:
        """Whether there is a result."""
        return self.status == JobStatus.SUCCEEDED

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "JobRecord":
        """Read the service's form; raises ``ServiceUnreachable`` for any other."""
        try:
            return cls(
                **{item.name: document[item.name] for item in fields(cls) if item.name in document}
            )
        except TypeError as error:
            raise ServiceUnreachable(
                "the answer is not a job, which has an id, a model, a version and a status"
            ) from error


class Jobs:
    """The jobs of one caller at the service of ``client``; every call raises what the client's
    do.
    """

    def __init__(self, client: Transport) -> None:
        self._client = client

    def submit(
        self,
        model: str,
        inputs: Mapping[str, tuple[str, Array]],
        *,
        key: str = "",
        **terms: Unpack[Terms],
    ) -> JobRecord:
        """Ask for an inference that is answered later; submitting again under the same ``key``
        gives the same job.
        """
        asked = {"Prefer": "respond-async", "Idempotency-Key": key or str(uuid.uuid4())}
        answer = send_inference(self._client, model, inputs, asked, **terms)
        return JobRecord.of(read_document(answer))

    def show(self, job_id: str) -> JobRecord:
        """One job as it is now."""
        return JobRecord.of(read_document(self._client.call("GET", _path(job_id))))

    def list(self, *, model: str = "", status: str = "", limit: int = 50) -> Iterator[JobRecord]:
        """Jobs, the newest first, ``limit`` at most."""
        cursor, left = "", limit
        while left > 0:
            given = {
                "model": model,
                "status": status,
                "limit": str(min(left, 100)),
                "cursor": cursor,
            }
            query = urlencode({name: value for name, value in given.items() if value})
            page = read_document(self._client.call("GET", f"/v2/jobs?{query}"), "jobs")
            found = [JobRecord.of(item) for item in page["jobs"]]
            yield from found[:left]
            cursor, left = page.get("next") or "", left - len(found)
            if not cursor:
                return

    def cancel(self, job_id: str) -> JobRecord:
        """Stop a job that has not ended."""
        return JobRecord.of(read_document(self._client.call("POST", _path(job_id) + "/cancel")))

    def retry(self, job_id: str) -> JobRecord:
        """Queue a job again that failed, expired or was canceled."""
        return JobRecord.of(read_document(self._client.call("POST", _path(job_id) + "/retry")))

    def result(self, job_id: str) -> Answer:
        """The outputs of a job that succeeded."""
        body, headers = self.result_bytes(job_id)
        return decode_answer(body, headers)

    def result_bytes(self, job_id: str) -> tuple[bytes, Mapping[str, str]]:
        """The result as it was written, with its headers; a large one is fetched from where it
        lies.
        """
        answer = self._client.call("GET", _path(job_id) + "/result")
        if answer.status_code != httpx.codes.SEE_OTHER:
            return answer.content, answer.headers
        stored = self._client.fetch(answer.headers["Location"])
        # How the result divides into JSON and tensors stands in the redirect: the bucket does not
        # know it. The redirect's own type is that of an empty body.
        content_type = {"Content-Type": stored.headers.get("Content-Type", "")}
        return stored.content, httpx.Headers({**stored.headers, **answer.headers, **content_type})

    def wait(
        self, job_id: str, timeout_s: float, told: Callable[[JobRecord], None] = lambda _: None
    ) -> JobRecord:
        """Follow a job until it ends, or as it is after ``timeout_s``; ``told`` is called with
        every look.
        """
        until, look_s = time.monotonic() + timeout_s, FIRST_LOOK_S
        while True:
            record = self.show(job_id)
            told(record)
            left_s = until - time.monotonic()
            if record.final or left_s <= 0:
                return record
            time.sleep(min(look_s, left_s))
            look_s = min(_LOOKS_APART * look_s, SLOWEST_LOOK_S)


def _path(job_id: str) -> str:
    return f"/v2/jobs/{quote(job_id, safe='')}"
