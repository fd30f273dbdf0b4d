"""The function that works on one model's jobs: SQS hands it some messages at once, it says which
must come again.
"""

import functools
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from onnxlift_runtime import telemetry
from onnxlift_runtime.aws.queues import Queues, backoff_s
from onnxlift_runtime.dataplane.engine import Engine
from onnxlift_runtime.errors import MalformedRequest
from onnxlift_runtime.jobs.queueing import decode_job_message
from onnxlift_runtime.jobservice.process import open_process, queue_of, repeat
from onnxlift_runtime.jobservice.worker import Worker
from onnxlift_runtime.names import tier_of_queue

LEASE_MARGIN_MS: Final = 5_000  # a function that was stopped holds its jobs for this long at most


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Work on the jobs of an SQS event; answers with the messages that must come again
    (``ReportBatchItemFailures``).

    A message that names no job is logged and done with: it can only come from somebody who may
    write to the queue.
    """
    records: Sequence[Mapping[str, Any]] = event["Records"]
    named = [(job_id, record) for record in records if (job_id := _job_id(record))]
    lease_ms = context.get_remaining_time_in_millis() + LEASE_MARGIN_MS
    tier = tier_of_queue(queue_of(records[0])) if records else ""
    core, job_ids = replace(worker(), tier=tier), [job_id for job_id, _ in named]
    with core.service.meter.gathered("batch"):
        again = core.work(
            job_ids,
            lease_ms,
            lambda suspects: _hide(core.service.queues, named, suspects, lease_ms),
        )
    failed = [record for job_id, record in named if job_id in again]
    for record in failed:
        _postpone(worker().service.queues, record)
    return repeat(failed)


@functools.cache
def worker() -> Worker:
    """The worker of this process with every model open, made on the first call: Lambda makes it
    during the start.
    """
    process = open_process(os.environ)
    engine = Engine.open(process.settings)
    max_bytes = engine.limits.max_tensor_bytes
    return Worker(process.service, engine, process.notifier, process.owner, max_bytes)


def _job_id(record: Mapping[str, Any]) -> str:
    try:
        return decode_job_message(record["body"])
    except MalformedRequest as error:
        telemetry.log(
            "error", "message without a job", message_id=record["messageId"], why=str(error)
        )
        return ""


def _hide(
    queues: Queues,
    named: Iterable[tuple[str, Mapping[str, Any]]],
    job_ids: Collection[str],
    lease_ms: int,
) -> None:
    """Should this function end in the middle, let the messages of these jobs come again when it
    could not go on.
    """
    for job_id, record in named:
        if job_id in job_ids:
            queues.postpone(queue_of(record), record["receiptHandle"], lease_ms // 1000 + 1)


def _postpone(queues: Queues, record: Mapping[str, Any]) -> None:
    """Let the message come again sooner than the queue's visibility timeout, which is hours, and
    later each time.
    """
    received = int(record["attributes"]["ApproximateReceiveCount"])
    queues.postpone(queue_of(record), record["receiptHandle"], backoff_s(received))


# Lambda alone sets this, while it starts the function: the first jobs then find the models open.
if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    worker()
