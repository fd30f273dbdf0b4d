"""SQS, DynamoDB and S3 in this process's memory, as far as jobs use them: with the delays and
failures one asks for.

Each takes the place of a boto3 client, so that the table, the store and the queues above it are the
real ones. Unlike moto these may be used from many threads at once, and cost next to nothing.
"""

import contextlib
import io
import itertools
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from botocore.exceptions import ClientError

from onnxlift_runtime.aws.items import decode_item
from onnxlift_runtime.aws.objects import ObjectStore
from onnxlift_runtime.aws.queues import Queues
from onnxlift_runtime.aws.table import JobTable
from onnxlift_runtime.errors import StoreUnavailable
from onnxlift_runtime.jobs.job import Job
from onnxlift_runtime.jobservice.service import JobService

SERVICE = "test"


@dataclass
class Line:
    """What lies between a client and its service: ``delay_s`` for each call, of which a ``failing``
    share fails.
    """

    delay_s: float = 0.0
    failing: float = 0.0
    dice: random.Random = field(default_factory=lambda: random.Random(0))
    calls: int = 0

    def pass_through(self, name: str) -> None:
        """Make one call wait, and maybe fail."""
        self.calls += 1
        if self.delay_s:
            time.sleep(self.delay_s)
        if self.failing and self.dice.random() < self.failing:
            raise StoreUnavailable(f"no answer from {name}; try again")


class MemoryTable:
    """DynamoDB's client for one table."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.items: dict[str, Any] = {}
        self._lock = threading.Lock()

    def get_item(self, *, Key: Any, **_rest: Any) -> Any:
        self.line.pass_through("dynamodb")
        item = self.items.get(Key["id"]["S"])
        return {"Item": item} if item else {}

    def put_item(
        self,
        *,
        Item: Any,
        ConditionExpression: str,
        ExpressionAttributeValues: Any = None,
        **_rest: Any,
    ) -> Any:
        self.line.pass_through("dynamodb")
        with self._lock:
            stored = self.items.get(Item["id"]["S"])
            if ConditionExpression == "attribute_not_exists(id)":
                holds = stored is None
            else:
                holds = (
                    stored is not None
                    and stored["revision"] == ExpressionAttributeValues[":revision"]
                )
            if not holds:
                raise ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "PutItem")
            self.items[Item["id"]["S"]] = Item
        return {}

    def jobs(self) -> list[Job]:
        """All jobs as they are now."""
        return [decode_item(item) for item in list(self.items.values())]


@dataclass
class _Stored:
    """One message in a queue: hidden until a time, under the receipt it was given last."""

    body: str
    visible_at_s: float = 0.0
    receipt: str = ""
    receives: int = 0


class MemoryQueues:
    """SQS' client; every queue exists.

    ``extended`` counts how often a message was kept hidden; with ``hurried`` nobody waits for a
    message.
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self.queues: dict[str, list[_Stored]] = {}
        self.extended = 0
        self.hurried = False
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()

    def get_queue_url(self, *, QueueName: str) -> Any:
        return {"QueueUrl": QueueName}

    def send_message(self, *, QueueUrl: str, MessageBody: str, **_rest: Any) -> Any:
        with self._changed:
            self.queues.setdefault(QueueUrl, []).append(_Stored(MessageBody))
            self._changed.notify_all()
        return {}

    def receive_message(
        self,
        *,
        QueueUrl: str,
        MaxNumberOfMessages: int,
        WaitTimeSeconds: int,
        VisibilityTimeout: int,
        **_rest: Any,
    ) -> Any:
        self.line.pass_through("sqs")
        deadline = time.monotonic() + WaitTimeSeconds
        with self._changed:
            while not (found := self._visible(QueueUrl, MaxNumberOfMessages)):
                left_s = deadline - time.monotonic()
                if left_s <= 0 or self.hurried:
                    return {}
                self._changed.wait(min(left_s, 0.02))
            return {"Messages": [self._give(message, VisibilityTimeout) for message in found]}

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> Any:
        self.line.pass_through("sqs")
        with self._changed, contextlib.suppress(LookupError):
            self.queues[QueueUrl].remove(self._find(QueueUrl, ReceiptHandle))
        return {}

    def change_message_visibility(
        self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int
    ) -> Any:
        self.line.pass_through("sqs")
        with self._changed, contextlib.suppress(LookupError):
            self._find(QueueUrl, ReceiptHandle).visible_at_s = time.monotonic() + VisibilityTimeout
            self._changed.notify_all()
        return {}

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Any) -> Any:
        self.line.pass_through("sqs")
        failed = []
        with self._changed:
            for entry in Entries:
                try:
                    found = self._find(QueueUrl, entry["ReceiptHandle"])
                    found.visible_at_s = time.monotonic() + entry["VisibilityTimeout"]
                    self.extended += 1
                except LookupError:
                    failed.append({"Id": entry["Id"]})
        return {"Failed": failed}

    def left(self) -> int:
        """How many messages there are, hidden ones included."""
        return sum(map(len, self.queues.values()))

    def _visible(self, name: str, at_most: int) -> list[_Stored]:
        now_s = time.monotonic()
        found = (message for message in self.queues.get(name, ()) if message.visible_at_s <= now_s)
        return list(itertools.islice(found, at_most))

    def _give(self, message: _Stored, visibility_s: int) -> dict[str, Any]:
        message.visible_at_s = time.monotonic() + visibility_s
        message.receipt = str(next(self._numbers))
        message.receives += 1
        return {
            "MessageId": message.receipt,
            "Body": message.body,
            "ReceiptHandle": message.receipt,
            "Attributes": {"ApproximateReceiveCount": str(message.receives)},
        }

    def _find(self, name: str, receipt: str) -> _Stored:
        for message in self.queues.get(name, ()):
            if message.receipt == receipt:
                return message
        raise LookupError(receipt)


class MemoryBucket:
    """S3's client for one bucket."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.objects: dict[str, bytes] = {}

    def put_object(self, *, Key: str, Body: bytes, **_rest: Any) -> Any:
        self.line.pass_through("s3")
        self.objects[Key] = Body
        return {}

    def get_object(self, *, Key: str, **_rest: Any) -> Any:
        self.line.pass_through("s3")
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"ContentLength": len(self.objects[Key]), "Body": io.BytesIO(self.objects[Key])}


@dataclass
class Memory:
    """The three together, and the job service above them."""

    table: MemoryTable = field(default_factory=lambda: MemoryTable(Line()))
    queues: MemoryQueues = field(default_factory=lambda: MemoryQueues(Line()))
    bucket: MemoryBucket = field(default_factory=lambda: MemoryBucket(Line()))

    @property
    def service(self) -> JobService:
        """A job service that keeps everything here."""
        store = ObjectStore(cast(Any, self.bucket), "data")
        return JobService(
            JobTable(cast(Any, self.table), "jobs"), store, Queues(cast(Any, self.queues), SERVICE)
        )

    @contextlib.contextmanager
    def failing(self, share: float) -> Iterator[None]:
        """Let a share of all calls fail while the block lasts."""
        lines = [self.table.line, self.queues.line, self.bucket.line]
        for line in lines:
            line.failing = share
        try:
            yield
        finally:
            for line in lines:
                line.failing = 0.0
