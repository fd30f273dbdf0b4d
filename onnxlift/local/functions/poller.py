"""What Lambda does with a queue that feeds a function: receive, call, delete what went well."""

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from onnxlift.local.account import queue_arn
from onnxlift.local.functions.context import LambdaContext
from onnxlift.local.functions.gateway import MEMORY_MB
from onnxlift.local.functions.wiring import Handler
from onnxlift.topology import Source

LONG_POLL_S: Final = 20
PAUSE_S: Final = 0.5
log = logging.getLogger("onnxlift.local")


@dataclass(frozen=True, slots=True)
class Poller:
    """One source, its function, and the SQS client to receive with; ``busy`` is held while the
    function runs.
    """

    source: Source
    handler: Handler
    sqs: Any
    busy: threading.Lock = field(default_factory=threading.Lock)

    def run(self, stopped: threading.Event) -> None:
        """Poll until ``stopped``; a queue that does not answer is asked again after a moment."""
        url = ""
        while not stopped.is_set():
            try:
                url = url or self.sqs.get_queue_url(QueueName=self.source.queue)["QueueUrl"]
                self.poll(url)
            except (BotoCoreError, ClientError) as error:
                if not stopped.is_set():
                    log.warning("queue %s cannot be read: %s", self.source.queue, error)
                stopped.wait(PAUSE_S)

    def poll(self, url: str) -> None:
        """Receive some messages at most, and call the function with them."""
        answer = self.sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=self.source.batch_size,
            WaitTimeSeconds=LONG_POLL_S,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        if messages := answer.get("Messages"):
            with self.busy:
                self._delete(url, self._call(messages))

    def _delete(self, url: str, messages: Sequence[Mapping[str, Any]]) -> None:
        if messages:
            handles = enumerate(message["ReceiptHandle"] for message in messages)
            entries = [{"Id": str(index), "ReceiptHandle": handle} for index, handle in handles]
            self.sqs.delete_message_batch(QueueUrl=url, Entries=entries)

    def _call(self, messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The messages that the function has done with: none where it failed as a whole."""
        name = f"{self.source.model}-{self.source.function}".lstrip("-")
        context = LambdaContext(name, MEMORY_MB, self.source.timeout_s)
        try:
            answer = self.handler(to_event(self.source, messages), context)
        except Exception:
            log.exception("function %s failed on %d messages", name, len(messages))
            return []
        failed = {item["itemIdentifier"] for item in (answer or {}).get("batchItemFailures", ())}
        return [message for message in messages if message["MessageId"] not in failed]


def to_event(source: Source, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Received messages as Lambda hands them to a function."""
    return {"Records": [_record(source, message) for message in messages]}


def _record(source: Source, message: Mapping[str, Any]) -> dict[str, Any]:
    attributes = message.get("Attributes", {})
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": _ordered(message["Body"], attributes.get("SentTimestamp", "0")),
        "attributes": dict(attributes),
        "messageAttributes": {
            name: _attribute(value) for name, value in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn(source.queue),
        "awsRegion": queue_arn(source.queue).split(":")[3],
    }


def _attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name[0].lower() + name[1:]: item for name, item in value.items()}


def _ordered(body: str, sent: str) -> str:
    """A notification of S3 with a sequencer that grows, as S3's do; moto writes the same one into
    all.
    """
    if '"Object Created"' not in body:
        return body
    document = json.loads(body)
    document["detail"]["object"]["sequencer"] = f"{int(sent):016X}"
    return json.dumps(document)
