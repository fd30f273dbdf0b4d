"""The function of dead letters: a job that was too much for Lambda goes to the GPU once, any other
has failed.
"""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from onnxlift_runtime import telemetry
from onnxlift_runtime.aws.queues import decode_message
from onnxlift_runtime.dataplane.routing import ESCALATED
from onnxlift_runtime.errors import JobConflict, JobNotFound, MalformedRequest, OnnxliftError
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs.job import Job
from onnxlift_runtime.jobservice.notifier import Notifier, open_notifier
from onnxlift_runtime.jobservice.service import JobService
from onnxlift_runtime.jobservice.wiring import connect
from onnxlift_runtime.names import GPU, LAMBDA, tier_of_queue
from onnxlift_runtime.settings import Settings

_CAUSES: Final = {
    LAMBDA: f"{ESCALATED}, and the model has no GPU workers",
    GPU: "no GPU worker came to an end with it",
}


@dataclass(frozen=True, slots=True)
class Escalation:
    """What this function works with."""

    service: JobService
    notifier: Notifier
    settings: Settings


def handler(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
    """Take the dead letters of an SQS event; answers with those that must come again
    (``ReportBatchItemFailures``).
    """
    with escalation().service.meter.gathered("escalate"):
        failed = [record["messageId"] for record in event["Records"] if not _take(record)]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


@functools.cache
def escalation() -> Escalation:
    """What this process escalates with, made on the first call."""
    settings = Settings.from_env(os.environ)
    telemetry.configure(settings.log_level)
    service = connect(settings)
    return Escalation(service, open_notifier(settings, service), settings)


def _take(record: Mapping[str, Any]) -> bool:
    """Whether a dead letter is done with; it must come again while a worker holds its job, or its
    end is not told.
    """
    try:
        job_id = decode_message(record["body"])
        _end(
            escalation().service.get(job_id, None), record
        )  # expired where its time limit has passed
    except (JobNotFound, MalformedRequest) as error:
        telemetry.log(
            "error", "dead letter without a job", message_id=record["messageId"], why=str(error)
        )
    except (JobConflict, OnnxliftError) as error:
        telemetry.log("warning", "dead letter kept", message_id=record["messageId"], why=str(error))
        return False
    return True


def _end(job: Job, record: Mapping[str, Any]) -> None:
    """Escalate the job or let it fail; one that ended is told again, one that moved on is left
    alone.
    """
    service, notifier = escalation().service, escalation().notifier
    tier = tier_of_queue(_queue(record))
    if not job.final and job.tier != tier:
        return  # an earlier delivery, or the sweep, was faster
    if job.final:
        notifier.tell(job)
    elif tier == LAMBDA and GPU in escalation().settings.tiers_of(job.model):
        escalated = service.table.change(
            job.id,
            lambda found: lifecycle.escalate(found, GPU, ESCALATED, service.clock()),
            seen=job,
        )
        service.meter.note(job.model, dead_letters_escalated=1)
        service.queues.send(escalated)
    else:
        why = _why(job, tier)
        abandoned = service.table.change(
            job.id, lambda found: lifecycle.abandon(found, why, service.clock()), seen=job
        )
        service.meter.note(job.model, dead_letters_failed=1)
        notifier.tell(abandoned)


def _why(job: Job, tier: str) -> str:
    """What happened to a job that failed, in words for its caller."""
    cause = f"the last attempt failed: {job.error}" if job.error else _CAUSES[tier]
    return f"given up after {job.attempt} attempts; {cause}"


def _queue(record: Mapping[str, Any]) -> str:
    name: str = record["eventSourceARN"].rsplit(":", 1)[-1]
    return name
