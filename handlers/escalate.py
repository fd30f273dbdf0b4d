"""The function of dead letters: a job that was too much for Lambda goes to the GPU once, any other
has failed.
"""

import functools
import os
from collections.abc import Mapping
from typing import Any, Final

from onnxlift_runtime import telemetry
from onnxlift_runtime.dataplane.routing import ESCALATED
from onnxlift_runtime.errors import JobConflict, JobNotFound, MalformedRequest, OnnxliftError
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs.job import Job
from onnxlift_runtime.jobs.queueing import decode_job_message
from onnxlift_runtime.jobservice.process import Process, open_process, queue_of, take_each
from onnxlift_runtime.names import GPU, LAMBDA, tier_of_queue

_CAUSES: Final = {
    LAMBDA: f"{ESCALATED}, and the model has no GPU workers",
    GPU: "no GPU worker came to an end with it",
}


def handler(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
    """Take the dead letters of an SQS event; answers with those that must come again
    (``ReportBatchItemFailures``).
    """
    with process().service.meter.gathered("escalate"):
        return take_each(event, _take)


@functools.cache
def process() -> Process:
    """What this process works with, made on the first call."""
    return open_process(os.environ)


def _take(record: Mapping[str, Any]) -> bool:
    """Whether a dead letter is done with; it must come again while a worker holds its job, or its
    end is not told.
    """
    try:
        # The service ends a job here whose time limit has passed.
        job = process().service.get(decode_job_message(record["body"]), None)
        _end(job, record)
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
    service, notifier = process().service, process().notifier
    tier = tier_of_queue(queue_of(record))
    if not job.final and job.tier != tier:
        return  # an earlier delivery, or the sweep, was faster
    if job.final:
        notifier.tell(job)
    elif tier == LAMBDA and GPU in process().settings.tiers_of(job.model):
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
