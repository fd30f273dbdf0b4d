"""The endpoints of jobs: look, list, fetch the result, cancel, retry, upload, and the secret of
one's webhooks.
"""

import base64
import binascii
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from onnxlift_runtime import telemetry
from onnxlift_runtime.aws import secrets
from onnxlift_runtime.aws.objects import PRESIGNED_FOR_S
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.errors import (
    JobConflict,
    JobNotFound,
    MalformedRequest,
    NotFound,
    StoreUnavailable,
)
from onnxlift_runtime.http.message import Request, Response, Route
from onnxlift_runtime.http.routes import JOBS, bind
from onnxlift_runtime.jobs import webhooks
from onnxlift_runtime.jobs.job import Job, JobStatus
from onnxlift_runtime.jobs.queueing import estimate_start_ms
from onnxlift_runtime.jobservice.notifier import Notifier
from onnxlift_runtime.jobservice.requests import RETRY_AFTER_S, answer_result
from onnxlift_runtime.jobservice.service import JobService, describe
from onnxlift_runtime.names import GPU, uploads_prefix
from onnxlift_runtime.settings import Limits, Settings
from onnxlift_runtime.tensors.wire import expect, expect_mapping, optional

Params = Mapping[str, str | None]

MAX_LISTED: Final = 100
DEFAULT_LISTED: Final = 50
_ID: Final = re.compile(r"[0-9a-f-]{36}")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class JobsApi:
    """What the endpoints work with."""

    service: JobService
    notifier: Notifier
    models: Catalog
    settings: Settings
    limits: Limits


def routes(jobs_api: JobsApi) -> tuple[Route, ...]:
    """Every endpoint of jobs."""
    return bind(JOBS, _HANDLERS, jobs_api)


def _list(jobs_api: JobsApi, request: Request, _params: Params) -> Response:
    query = request.query
    status = query.get("status", "").upper()
    if status and status not in JobStatus.__members__:
        raise MalformedRequest(
            f"'status' is {query['status'][:40]!r}, allowed: {', '.join(JobStatus)}"
        )
    page = jobs_api.service.table.list(
        request.caller,
        model=query.get("model", ""),
        status=status,
        limit=_limit(query.get("limit", "")),
        cursor=query.get("cursor", ""),
    )
    return Response.json(
        {"jobs": [describe(job) for job in page.jobs], "next": page.cursor or None}
    )


def _limit(text: str) -> int:
    if not text:
        return DEFAULT_LISTED
    if not re.fullmatch(r"[0-9]{1,4}", text, re.ASCII) or not 1 <= int(text) <= MAX_LISTED:
        raise MalformedRequest(
            f"'limit' is {text[:40]!r}, expected a whole number from 1 to {MAX_LISTED}"
        )
    return int(text)


def _show(jobs_api: JobsApi, request: Request, params: Params) -> Response:
    job = jobs_api.service.get(_id(params), request.caller)
    retry = {} if job.final else {"Retry-After": str(RETRY_AFTER_S)}
    if job.status is not JobStatus.QUEUED:
        return Response.json(describe(job), 200, retry)
    ahead = jobs_api.service.table.ahead(job)
    return Response.json(
        describe(job, position=ahead, estimated_start_ms=_estimate(jobs_api, job, ahead)),
        200,
        retry,
    )


def _estimate(jobs_api: JobsApi, job: Job, ahead: int) -> int | None:
    """When the job will start, from the time the model was measured to take; None where something
    is unknown.
    """
    # As many GPU workers as there may be need not be there; one is.
    workers = 1 if job.tier == GPU else jobs_api.settings.batch_workers
    try:
        latency = jobs_api.models.find(job.model, job.version).measurements.latency
    except NotFound:
        return None
    if not workers or not latency:
        return None
    return estimate_start_ms(jobs_api.service.clock(), ahead, latency[0].p95_ms, workers)


def _result(jobs_api: JobsApi, request: Request, params: Params) -> Response:
    return answer_result(jobs_api.service, jobs_api.service.get(_id(params), request.caller))


def _cancel(jobs_api: JobsApi, request: Request, params: Params) -> Response:
    """Canceling twice is as good as once; a job that ended first keeps its end, and the answer
    (409) says so.
    """
    job = jobs_api.service.cancel(_id(params), request.caller)
    tell(jobs_api.service, jobs_api.notifier, job)
    return Response.json(describe(job))


def _retry(jobs_api: JobsApi, request: Request, params: Params) -> Response:
    model = jobs_api.service.get(_id(params), request.caller).model
    if model not in jobs_api.models.models:
        raise JobConflict(
            f"model {model!r} was taken out of the service, so that nobody can do the job"
        )
    job = jobs_api.service.retry(_id(params), request.caller)
    return Response.json(describe(job), 200, {"Retry-After": str(RETRY_AFTER_S)})


def tell(service: JobService, notifier: Notifier, job: Job) -> None:
    """Tell a job's end; where that fails, send its message once more: the worker who finds it ended
    tells it.
    """
    try:
        notifier.tell(job)
    except StoreUnavailable as error:
        telemetry.log(
            "warning", "end of a job left to a worker to tell", job=job.id, why=str(error)
        )
        service.queues.send(job)


def _upload(jobs_api: JobsApi, request: Request, _params: Params) -> Response:
    """A form that uploads one input, and the reference by which requests name it."""
    checksum = _checksum(request.body)
    reference = f"{uploads_prefix(request.caller)}{uuid.uuid4()}"
    form = jobs_api.service.store.presigned_post(
        reference, jobs_api.limits.max_tensor_bytes, checksum
    )
    told: dict[str, Any] = {
        "upload": reference,
        "url": form["url"],
        "fields": form["fields"],
        "max_bytes": jobs_api.limits.max_tensor_bytes,
        "expires_in_s": PRESIGNED_FOR_S,
    }
    return Response.json(told)


def _checksum(body: bytes) -> str:
    """The optional ``sha256`` of an upload, given in hexadecimal or base64, as base64."""
    try:
        document = expect_mapping(json.loads(body or b"{}"), "the request")
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from error
    text = expect(optional(document, "sha256", ""), str, "'sha256'")
    try:
        digest = (
            bytes.fromhex(text)
            if _SHA256.fullmatch(text)
            else base64.b64decode(text, validate=True)
        )
    except (binascii.Error, ValueError):
        digest = b"?"
    if text and len(digest) != 32:
        raise MalformedRequest(
            f"'sha256' is {text[:80]!r}, expected 64 hexadecimal digits or 32 bytes in base64"
        )
    return base64.b64encode(digest).decode("ascii")


def _webhook_secret(jobs_api: JobsApi, request: Request, _params: Params) -> Response:
    """The secret with which this caller checks that a webhook comes from this service."""
    if not jobs_api.settings.webhook_secret:
        raise NotFound("this service delivers no webhooks")
    newest = secrets.read(jobs_api.settings.webhook_secret)[0]
    return Response.json(
        {"secret": webhooks.encode_secret(webhooks.caller_secret(newest, request.caller))},
        headers={"Cache-Control": "no-store"},
    )


def _id(params: Params) -> str:
    """The id that a path names; raises ``JobNotFound`` for what is none, and may be longer than the
    table takes.
    """
    job_id = params["job"] or ""
    if not _ID.fullmatch(job_id):
        raise JobNotFound(f"job {job_id!r} does not exist")
    return job_id


_HANDLERS: Final[Mapping[str, Callable[[JobsApi, Request, Params], Response]]] = {
    "jobs": _list,
    "job": _show,
    "jobResult": _result,
    "cancelJob": _cancel,
    "retryJob": _retry,
    "upload": _upload,
    "webhookSecret": _webhook_secret,
}
