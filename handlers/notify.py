"""The function that delivers webhooks: each message of its queue is one, which comes again until it
is given up.
"""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from onnxlift_runtime import telemetry
from onnxlift_runtime.aws import secrets
from onnxlift_runtime.errors import (
    JobConflict,
    JobNotFound,
    MalformedRequest,
    OnnxliftError,
    WebhookFailed,
)
from onnxlift_runtime.jobs import lifecycle, webhooks
from onnxlift_runtime.jobs.job import Job
from onnxlift_runtime.jobs.queueing import decode_job_message
from onnxlift_runtime.jobs.webhooks import Webhook
from onnxlift_runtime.jobservice import notices
from onnxlift_runtime.jobservice.process import Process, open_process, take_each
from onnxlift_runtime.jobservice.service import JobService
from onnxlift_runtime.names import WEBHOOK_DELAYS_S, WEBHOOK_TRIES, webhook_queue_name


def handler(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
    """Deliver the webhooks of an SQS event; answers with those to be tried again
    (``ReportBatchItemFailures``).
    """
    keys = secrets.read(process().settings.webhook_secret)
    with process().service.meter.gathered("notify"):
        return take_each(event, lambda record: _take(record, keys))


@functools.cache
def process() -> Process:
    """What this process works with, made on the first call."""
    return open_process(os.environ)


def _take(record: Mapping[str, Any], keys: Sequence[str]) -> bool:
    """Whether a message is done with: delivered, or about a job that has no webhook to deliver any
    more.
    """
    try:
        job = process().service.table.get(decode_job_message(record["body"]))
    except (JobNotFound, MalformedRequest) as error:
        telemetry.log(
            "error", "webhook without a job", message_id=record["messageId"], why=str(error)
        )
        return True
    if not job.final or not job.delivery.webhook:
        return True
    tries = int(record["attributes"]["ApproximateReceiveCount"])
    try:
        _deliver(job, keys)
    except OnnxliftError as error:
        _log_failure(job, error, tries)
        _postpone(record, tries)
        return False
    return True


def _deliver(job: Job, keys: Sequence[str]) -> None:
    """Send a job's webhook and keep how it went in the job's record."""
    service, settings = process().service, process().settings
    signing = [webhooks.caller_secret(key, job.caller) for key in keys]
    webhook = Webhook(
        job.delivery.webhook,
        notices.notice_id(job),
        service.clock() // 1000,
        notices.webhook_body(job),
    )
    try:
        webhooks.send(webhook, signing, private=settings.private_webhooks)
    except WebhookFailed as error:
        _note(service, job, str(error))
        raise
    _note(service, job, "")


def _note(service: JobService, job: Job, error: str) -> None:
    try:
        service.table.change(
            job.id,
            lambda found: lifecycle.note_webhook(found, job, error, service.clock()),
            seen=job,
        )
    except (JobConflict, JobNotFound) as why:
        telemetry.log("info", "webhook not noted", job=job.id, why=str(why))


def _log_failure(job: Job, error: OnnxliftError, tries: int) -> None:
    told = "webhook given up" if tries >= WEBHOOK_TRIES else "webhook not delivered"
    telemetry.log("error", told, job=job.id, tries=tries, why=str(error))


def _postpone(record: Mapping[str, Any], tries: int) -> None:
    """Let the message come again after its delay; after the last try it goes to the dead letters at
    once.
    """
    delay_s = WEBHOOK_DELAYS_S[tries - 1] if tries < WEBHOOK_TRIES else 0
    service, settings = process().service, process().settings
    service.queues.postpone(webhook_queue_name(settings.service), record["receiptHandle"], delay_s)
