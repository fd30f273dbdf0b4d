"""Jobs as messages: one queue for each model and tier, a message group for each caller (SQS fair queues)."""

import functools
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from onnxlift_runtime import telemetry
from onnxlift_runtime.errors import MalformedRequest
from onnxlift_runtime.jobs import Job
from onnxlift_runtime.layout import queue_name, webhook_queue_name

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

_COUNTS: Final[tuple["QueueAttributeNameType", ...]] = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class Queues:
    """The queues of one service, found by their names."""

    def __init__(self, client: "SQSClient", service: str) -> None:
        self._client = client
        self._service = service
        self._url = functools.cache(self._find)

    def send(self, job: Job) -> None:
        """Announce a queued job to the workers of its model and tier."""
        self._client.send_message(
            QueueUrl=self._url(queue_name(self._service, job.model, job.tier)),
            MessageBody=encode_message(job),
            MessageGroupId=_group(job.caller),
        )

    def reply(self, queue_url: str, document: dict[str, Any]) -> None:
        """Send a finished job to the queue that its caller named."""
        self._client.send_message(QueueUrl=queue_url, MessageBody=json.dumps(document))

    def send_webhook(self, job: Job) -> None:
        """Have a finished job's webhook delivered."""
        self._client.send_message(
            QueueUrl=self._url(webhook_queue_name(self._service)),
            MessageBody=encode_message(job),
            MessageGroupId=_group(job.caller),
        )

    def postpone(self, name: str, receipt_handle: str, delay_s: int) -> None:
        """Let a message that was received come again after ``delay_s``; one that was taken back in between stays."""
        try:
            self._client.change_message_visibility(
                QueueUrl=self._url(name), ReceiptHandle=receipt_handle, VisibilityTimeout=delay_s
            )
        except ClientError as error:
            telemetry.log("warning", "message not postponed", queue=name, why=str(error))

    def messages(self, model: str, tier: str) -> int:
        """About how many messages of one model and tier there are: waiting, delayed or with a worker."""
        url = self._url(queue_name(self._service, model, tier))
        answer = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=list(_COUNTS))
        return sum(int(answer["Attributes"][name]) for name in _COUNTS)

    def _find(self, name: str) -> str:
        return self._client.get_queue_url(QueueName=name)["QueueUrl"]


def encode_message(job: Job) -> str:
    """The message of a job: its id alone, so that the table is the one place that says what it is."""
    return json.dumps({"job": job.id})


def decode_message(body: str) -> str:
    """The job id of a message; raises ``MalformedRequest``."""
    try:
        document = json.loads(body)
    except ValueError as error:
        raise MalformedRequest(f"the message is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("job"), str):
        raise MalformedRequest("the message has no 'job'")
    job_id: str = document["job"]
    return job_id


def _group(caller: str) -> str:
    """A caller as a message group, whose alphabet and length SQS limits."""
    return hashlib.sha256(caller.encode()).hexdigest()[:32]
