"""What is said when a job has ended, in the form of each way it is said; pure."""

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from onnxlift_runtime.http.message import JSON
from onnxlift_runtime.jobs.job import Job, JobStatus, Payload
from onnxlift_runtime.jobservice.service import describe

if TYPE_CHECKING:
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

COMPLETED: Final = "inference.job.completed"
SOURCE: Final = "onnxlift"


def notice_id(job: Job) -> str:
    """The same for every telling of one end of a job; a job that is retried ends once more, under
    another id.
    """
    return f"{job.id}.{job.attempt}.{job.finished_ms}"


def event(job: Job, service: str, bus: str) -> "PutEventsRequestEntryTypeDef":
    """An EventBridge entry; rules match ``detail.job.status``, ``detail.job.model`` and
    ``detail.service``.
    """
    detail = {"id": notice_id(job), "service": service, "caller": job.caller, "job": describe(job)}
    return {
        "EventBusName": bus,
        "Source": SOURCE,
        "DetailType": COMPLETED,
        "Detail": json.dumps(detail),
    }


def webhook_body(job: Job) -> bytes:
    """Standard Webhooks, "Payload structure"."""
    document = {"type": COMPLETED, "timestamp": _time(job.finished_ms), "data": describe(job)}
    return json.dumps(document, separators=(",", ":")).encode()


def reply(job: Job) -> dict[str, Any]:
    """What the reply queue gets: the job, and its result or where it lies."""
    told: dict[str, Any] = {"id": notice_id(job), "type": COMPLETED, "job": describe(job)}
    return told if job.result is None else told | {"result": _result(job.result)}


def sagemaker_notice(job: Job, result: Payload | None, *, region: str) -> str:
    """The message of SageMaker's asynchronous inference, as its consumers read it; ``result`` lies
    in the bucket.
    """
    notice: dict[str, Any] = {
        "awsRegion": region,
        "eventTime": _time(job.finished_ms),
        "receivedTime": _time(job.created_ms),
        "invocationStatus": "Completed" if job.status is JobStatus.SUCCEEDED else "Failed",
        "requestParameters": _request_parameters(job),
        "inferenceId": job.id,
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }
    if job.status is not JobStatus.SUCCEEDED:
        notice["failureReason"] = job.error or f"the job is {job.status}"
    elif result is not None:
        notice["responseParameters"] = {
            "contentType": _content_type(result),
            "outputLocation": _location(result),
        }
    return json.dumps(notice)


def _request_parameters(job: Job) -> dict[str, str]:
    told = {"contentType": _content_type(job.payload), "endpointName": job.model}
    return told | ({"inputLocation": _location(job.payload)} if job.payload.key else {})


def _result(result: Payload) -> dict[str, Any]:
    if result.body is None:
        lies = {"bucket": result.bucket, "key": result.key, "version": result.object_version}
        return {"headers": dict(result.headers), "s3": lies}
    if _content_type(result) == JSON:
        return {"headers": dict(result.headers), "body": json.loads(result.body)}
    return {
        "headers": dict(result.headers),
        "body_base64": base64.b64encode(result.body).decode("ascii"),
    }


def _content_type(payload: Payload) -> str:
    headers = {name.lower(): value for name, value in payload.headers.items()}
    return headers.get("content-type", JSON)


def _location(payload: Payload) -> str:
    return f"s3://{payload.bucket}/{payload.key}"


def _time(milliseconds: int) -> str:
    """ISO 8601 with milliseconds, as SageMaker writes it."""
    return (
        datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    )
