"""Jobs as messages: one queue for each model and tier, a message group for each caller (SQS fair
queues).
"""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from onnxlift_runtime import telemetry
from onnxlift_runtime.errors import MalformedRequest
from onnxlift_runtime.jobs.job import Job
from onnxlift_runtime.jobs.queueing import decode_job_message, encode_job_message
from onnxlift_runtime.names import queue_name, webhook_queue_name

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType
    from mypy_boto3_sqs.type_defs import MessageTypeDef

_COUNTS: Final[tuple["QueueAttributeNameType", ...]] = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


MAX_AT_ONCE: Final = 10  # messages that one call to SQS takes or gives
FIRST_DELAY_S: Final = 5
MAX_DELAY_S: Final = 900


@dataclass(frozen=True, slots=True)
class Message:
    """A job's message as it was received: ``receives`` counts how often, this time included."""

    queue: str
    receipt_handle: str
    job_id: str
    receives: int


def backoff_s(receives: int) -> int:
    """How long a message waits that must come again: longer each time it was received."""
    return min(MAX_DELAY_S, FIRST_DELAY_S * int(2 ** min(receives - 1, 10)))


class Queues:
    """The queues of one service, found by their names; ``wake`` is called for each job that was
    announced.
    """

    def __init__(
        self, client: "SQSClient", service: str, wake: Callable[[Job], None] = lambda _job: None
    ) -> None:
        self._client = client
        self._service = service
        self._wake = wake
        self._url = functools.cache(self._find)

    def send(self, job: Job) -> None:
        """Announce a queued job to the workers of its model and tier."""
        self._client.send_message(
            QueueUrl=self._url(queue_name(self._service, job.model, job.tier)),
            MessageBody=encode_job_message(job),
            MessageGroupId=_group(job.caller),
        )
        self._wake(job)

    def reply(self, queue_url: str, document: dict[str, Any]) -> None:
        """Send a finished job to the queue that its caller named."""
        self._client.send_message(QueueUrl=queue_url, MessageBody=json.dumps(document))

    def send_webhook(self, job: Job) -> None:
        """Have a finished job's webhook delivered."""
        self._client.send_message(
            QueueUrl=self._url(webhook_queue_name(self._service)),
            MessageBody=encode_job_message(job),
            MessageGroupId=_group(job.caller),
        )

    def postpone(self, name: str, receipt_handle: str, delay_s: int) -> None:
        """Let a message that was received come again after ``delay_s``; one that was taken back in
        between stays.
        """
        try:
            self._client.change_message_visibility(
                QueueUrl=self._url(name), ReceiptHandle=receipt_handle, VisibilityTimeout=delay_s
            )
        except ClientError as error:
            telemetry.log("warning", "message not postponed", queue=name, why=str(error))

    def receive(
        self, model: str, tier: str, at_most: int, wait_s: int, visibility_s: int
    ) -> list[Message]:
        """Take up to ``at_most`` messages, waiting up to ``wait_s`` for the first; hidden from
        others meanwhile.

        A message that names no job is logged and deleted: it can only come from somebody who may
        write to the queue.
        """
        name = queue_name(self._service, model, tier)
        answer = self._client.receive_message(
            QueueUrl=self._url(name),
            MaxNumberOfMessages=min(at_most, MAX_AT_ONCE),
            WaitTimeSeconds=wait_s,
            VisibilityTimeout=visibility_s,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        found = [
            (self._read(name, item), item["ReceiptHandle"]) for item in answer.get("Messages", ())
        ]
        for message, receipt_handle in found:
            if message is None:
                self._client.delete_message(QueueUrl=self._url(name), ReceiptHandle=receipt_handle)
        return [message for message, _ in found if message is not None]

    def delete(self, message: Message) -> None:
        """Be done with a message."""
        self._client.delete_message(
            QueueUrl=self._url(message.queue), ReceiptHandle=message.receipt_handle
        )

    def extend(self, messages: Sequence[Message], visibility_s: int) -> int:
        """Keep messages of one queue hidden for ``visibility_s`` from now; returns how many SQS
        knows no more.
        """
        refused = 0
        for start in range(0, len(messages), MAX_AT_ONCE):
            some = messages[start : start + MAX_AT_ONCE]
            answer = self._client.change_message_visibility_batch(
                QueueUrl=self._url(some[0].queue),
                Entries=[
                    {
                        "Id": str(index),
                        "ReceiptHandle": message.receipt_handle,
                        "VisibilityTimeout": visibility_s,
                    }
                    for index, message in enumerate(some)
                ],
            )
            refused += len(answer.get("Failed", ()))
        return refused

    def messages(self, model: str, tier: str) -> int:
        """About how many messages of one model and tier there are: waiting, delayed or with a
        worker.
        """
        url = self._url(queue_name(self._service, model, tier))
        answer = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=list(_COUNTS))
        return sum(int(answer["Attributes"][name]) for name in _COUNTS)

    def _read(self, name: str, item: "MessageTypeDef") -> Message | None:
        try:
            job_id = decode_job_message(item["Body"])
        except MalformedRequest as error:
            telemetry.log(
                "error", "message without a job", message_id=item["MessageId"], why=str(error)
            )
            return None
        receives = int(item.get("Attributes", {}).get("ApproximateReceiveCount", "1"))
        return Message(name, item["ReceiptHandle"], job_id, receives)

    def _find(self, name: str) -> str:
        return self._client.get_queue_url(QueueName=name)["QueueUrl"]


def _group(caller: str) -> str:
    """A caller as a message group, whose alphabet and length SQS limits."""
    return hashlib.sha256(caller.encode()).hexdigest()[:32]
