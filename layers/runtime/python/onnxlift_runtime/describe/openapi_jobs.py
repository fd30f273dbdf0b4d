"""What jobs add to the API's document: their endpoints and schemas, and what an inference gains by
them.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from onnxlift_runtime.describe.schemas import Schema, ref
from onnxlift_runtime.errors import JobConflict
from onnxlift_runtime.http.message import JSON
from onnxlift_runtime.http.routes import JOBS
from onnxlift_runtime.jobs.job import DEFAULT_TTL_MS, JobStatus
from onnxlift_runtime.jobs.preferences import IDEMPOTENCY_KEY, MAX_WAIT_S, TTL, WEBHOOK

Document = dict[str, Any]

JOBS_TAG: Final = "jobs"
_TEXT: Final[Schema] = {"type": "string"}
_WHOLE: Final[Schema] = {"type": "integer", "minimum": 0}
_TIME: Final[Schema] = {
    "type": "integer",
    "format": "int64",
    "description": "Milliseconds since the epoch.",
}
_ID: Final = {
    "name": "job",
    "in": "path",
    "required": True,
    "schema": _TEXT,
    "description": "The job's id.",
}
_ROUTE: Final = {
    "X-Onnxlift-Route": {"description": "Where it is worked on, and why there.", "schema": _TEXT}
}
_HEADERS: Final = (
    (
        "Prefer",
        f"respond-async makes a job of the request; with wait=N it is waited for, {MAX_WAIT_S} s "
        f"at most.",
    ),
    (IDEMPOTENCY_KEY, "The same key gives the same job; with another request it is refused (409)."),
    (TTL, f"Seconds that the job may queue before it expires, {DEFAULT_TTL_MS // 1000} at most."),
    (
        WEBHOOK,
        "An https URL that is told when the job has ended, signed as Standard Webhooks says.",
    ),
)


def extend(document: Document) -> Document:
    """The document with jobs in it; every path that ends in ``/infer`` may then answer with a
    job.
    """
    components = document["components"]
    conflict = {"description": JobConflict.__doc__, "content": {JSON: {"schema": ref("Error")}}}
    inferences = {
        path: _deferrable(item)
        for path, item in document["paths"].items()
        if path.endswith("/infer")
    }
    return {
        **document,
        "tags": [*document["tags"], {"name": JOBS_TAG, "description": _INTRODUCTION}],
        "paths": {**document["paths"], **inferences, **_paths()},
        "components": {
            **components,
            "schemas": {**components["schemas"], **_schemas()},
            "responses": {**components["responses"], "Error409": conflict},
        },
    }


_ENDED: Final = ", ".join(
    status for status in JobStatus if status not in {JobStatus.QUEUED, JobStatus.RUNNING}
)
_INTRODUCTION: Final = (
    "An inference that is answered later. Ask for one with 'Prefer: respond-async', look at it "
    f"until its status is {_ENDED}, then fetch its result. You see your own jobs only. "
    "Inputs that are too large for one request are uploaded first."
)


def _deferrable(item: Mapping[str, Any]) -> Document:
    """An inference that may become a job."""
    post = dict(item["post"])
    headers = [
        {"name": name, "in": "header", "description": text, "schema": _TEXT}
        for name, text in _HEADERS
    ]
    accepted = {
        "description": "The request became a job, because it was preferred or would be too much "
        "for one answer, and "
        "Location is its address.",
        "headers": {"Location": {"schema": _TEXT}, "Retry-After": {"schema": _WHOLE}, **_ROUTE},
        "content": {JSON: {"schema": ref("Job")}},
    }
    answered = {**post["responses"]["200"], "headers": _ROUTE}
    post["parameters"] = [*post.get("parameters", []), *headers]
    post["responses"] = {**post["responses"], "200": answered, "202": accepted, **_failures(409)}
    return {"post": post}


def _paths() -> Document:
    return {row.path: {row.method.lower(): _OPERATIONS[row.operation]()} for row in JOBS}


def _jobs() -> Document:
    query = [
        {"name": "model", "in": "query", "schema": _TEXT},
        {"name": "status", "in": "query", "schema": {"type": "string", "enum": list(JobStatus)}},
        {
            "name": "limit",
            "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": 100},
        },
        {
            "name": "cursor",
            "in": "query",
            "schema": _TEXT,
            "description": "'next' of the page before.",
        },
    ]
    return _operation("jobs", "Your jobs, the newest first", "JobList", 400, parameters=query)


def _job() -> Document:
    return _operation("job", "One job", "Job", 404, parameters=[_ID])


def _result() -> Document:
    result = _operation("jobResult", "The result", None, 404, 409, 500, parameters=[_ID])
    result["responses"]["200"]["content"] = {JSON: {"schema": {"type": "object"}}}
    result["responses"]["303"] = {
        "description": "The result is larger than 64 KB, and Location a URL that gives it for 15 "
        "minutes.",
        "headers": {"Location": {"schema": _TEXT}},
    }
    return result


def _cancel() -> Document:
    return _operation("cancelJob", "Stop it", "Job", 404, 409, parameters=[_ID])


def _retry() -> Document:
    summary = "Queue it again after it failed, expired or was canceled"
    return _operation("retryJob", summary, "Job", 404, 409, parameters=[_ID])


def _upload() -> Document:
    upload = _operation("upload", "A form to upload a large input with", "Upload", 400)
    body = {JSON: {"schema": ref("UploadRequest")}}
    return upload | {"requestBody": {"required": False, "content": body}}


def _webhook_secret() -> Document:
    summary = "The secret that your webhooks are signed with"
    return _operation("webhookSecret", summary, "WebhookSecret", 404)


_OPERATIONS: Final[Mapping[str, Callable[[], Document]]] = {
    "jobs": _jobs,
    "job": _job,
    "jobResult": _result,
    "cancelJob": _cancel,
    "retryJob": _retry,
    "upload": _upload,
    "webhookSecret": _webhook_secret,
}


def _operation(
    operation: str,
    summary: str,
    schema: str | None,
    *errors: int,
    parameters: list[Any] | None = None,
) -> Document:
    content = {} if schema is None else {JSON: {"schema": ref(schema)}}
    return {
        "operationId": operation,
        "summary": summary,
        "tags": [JOBS_TAG],
        "responses": {
            "200": {"description": "The answer.", "content": content},
            **_failures(*errors, 429, 503),
        },
        **({"parameters": parameters} if parameters else {}),
    }


def _failures(*statuses: int) -> Document:
    return {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in statuses}


_JOB: Final[Mapping[str, Schema]] = {
    "id": _TEXT,
    "model": _TEXT,
    "version": _TEXT,
    "status": {"type": "string", "enum": list(JobStatus)},
    "tier": _TEXT | {"description": "What works on it."},
    "reason": _TEXT | {"description": "Why it became a job, and why on this tier."},
    "attempts": _WHOLE,
    "created_ms": _TIME,
    "expires_ms": _TIME,
    "started_ms": _TIME,
    "finished_ms": _TIME,
    "error": _TEXT,
    "position": _WHOLE | {"description": "How many jobs are before it, while it is queued."},
    "estimated_start_ms": _TIME,
    "result": _TEXT | {"description": "The path of the result, once there is one."},
    "webhook": {"type": "object", "description": "How the delivery of its webhook goes."},
}
# A job has these members from the start; the others come later.
_ALWAYS: Final = [
    "id",
    "model",
    "version",
    "status",
    "tier",
    "reason",
    "attempts",
    "created_ms",
    "expires_ms",
]
_UPLOAD: Final[Mapping[str, Schema]] = {
    "upload": _TEXT,
    "url": _TEXT,
    "fields": {"type": "object"},
    "max_bytes": _WHOLE,
    "expires_in_s": _WHOLE,
}


def _schemas() -> dict[str, Schema]:
    return {
        "Job": {"type": "object", "properties": dict(_JOB), "required": _ALWAYS},
        "JobList": {
            "type": "object",
            "properties": {
                "jobs": {"type": "array", "items": ref("Job")},
                "next": _TEXT | {"nullable": True},
            },
            "required": ["jobs", "next"],
        },
        "UploadRequest": {
            "type": "object",
            "properties": {
                "sha256": _TEXT | {"description": "Of the bytes to come, in hexadecimal or base64."}
            },
        },
        "Upload": {
            "type": "object",
            "properties": dict(_UPLOAD),
            "required": list(_UPLOAD),
            "description": "POST the file to 'url' with all 'fields' before it, then name it in an "
            "input: "
            '{"parameters": {"upload": …}} instead of its data.',
        },
        "WebhookSecret": {
            "type": "object",
            "properties": {"secret": _TEXT},
            "required": ["secret"],
        },
    }
