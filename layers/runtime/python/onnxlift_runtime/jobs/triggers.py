"""Where jobs come from besides the API: each queue with what reads its records; pure.

A new trigger is a row in ``TRIGGERS`` and its decoder. The CDK app and the local run create the
queues from these rows, and the function ``ingest`` reads them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from onnxlift_runtime.errors import MalformedRequest
from onnxlift_runtime.jobs.messages import Call
from onnxlift_runtime.jobs.objects import Dropped
from onnxlift_runtime.jobs.queueing import decode_job_message
from onnxlift_runtime.jobs.s3_events import decode_notification
from onnxlift_runtime.names import ingest_queue_name, public_queue_name

S3_CALLER: Final = "s3"


@dataclass(frozen=True, slots=True)
class Join:
    """A job whose parts have ended, so that their results can be joined."""

    job_id: str


Item = Call | Join | Dropped
Read = Callable[[Mapping[str, Any]], Iterator[Item]]


@dataclass(frozen=True, slots=True)
class Trigger:
    """A queue that feeds `ingest`.

    ``title`` names it among the resources of the service, ``queue`` gives its name in a service,
    and ``read`` what a record of an SQS event asks for. ``read`` raises ``MalformedRequest`` for a
    record that asks for nothing; SQS then brings it again, and at last to the dead letters.
    """

    title: str
    queue: Callable[[str], str]
    read: Read


def read_call(record: Mapping[str, Any]) -> Iterator[Item]:
    """A message of the public queue; its sender is who AWS says it is."""
    sender = record["attributes"]["SenderId"]
    yield Call(f"sqs:{sender}", record["body"], record["messageId"])


def read_own(record: Mapping[str, Any]) -> Iterator[Item]:
    """A message of the ingest queue: created objects, or a job whose parts have ended."""
    try:
        yield Join(decode_job_message(record["body"]))
    except MalformedRequest:
        yield from decode_notification(record["body"])


PUBLIC: Final = Trigger("Public", public_queue_name, read_call)
DROPPED: Final = Trigger("Dropped", ingest_queue_name, read_own)
TRIGGERS: Final = (PUBLIC, DROPPED)


def readers(service: str) -> dict[str, Read]:
    """What reads the records of each queue, by the queue's name in a service."""
    return {trigger.queue(service): trigger.read for trigger in TRIGGERS}
