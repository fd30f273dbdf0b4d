"""What a local queue does with the function that it feeds."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from onnxlift.local.functions.poller import Poller, to_event
from onnxlift.topology import Source
from tests.support.runtime.cloud import one_at_a_time

SOURCE = Source("tiny-jobs", "ingest", timeout_s=30, batch_size=10, concurrency=2)
Handler = Callable[[Any, Any], Any]


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with one_at_a_time():
        client = boto3.client("sqs", region_name="us-east-1")
        client.create_queue(QueueName=SOURCE.queue, Attributes={"VisibilityTimeout": "0"})
        yield client


def poll(sqs: Any, handler: Handler, *bodies: str) -> int:
    """Send the messages, poll once, and return how many are left."""
    url = sqs.get_queue_url(QueueName=SOURCE.queue)["QueueUrl"]
    for body in bodies:
        sqs.send_message(QueueUrl=url, MessageBody=body)
    Poller(SOURCE, handler, sqs).poll(url)
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    return int(counts["Attributes"]["ApproximateNumberOfMessages"])


def test_messages_that_went_well_are_deleted(sqs: Any) -> None:
    bodies: list[str] = []

    def handler(event: Any, _context: Any) -> dict[str, Any]:
        bodies.extend(record["body"] for record in event["Records"])
        return {"batchItemFailures": []}

    left = poll(sqs, handler, "one", "two")

    assert sorted(bodies) == ["one", "two"]
    assert left == 0


def test_a_message_that_the_function_names_comes_again(sqs: Any) -> None:
    def handler(event: Any, _context: Any) -> dict[str, Any]:
        return {"batchItemFailures": [{"itemIdentifier": event["Records"][0]["messageId"]}]}

    left = poll(sqs, handler, "one", "two")

    assert left == 1


def test_all_messages_come_again_when_the_function_fails(
    sqs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(_event: Any, _context: Any) -> None:
        raise RuntimeError("broken")

    left = poll(sqs, handler, "one", "two")

    assert left == 2
    assert "function ingest failed on 2 messages" in caplog.text


def test_the_function_may_run_as_long_as_in_aws(sqs: Any) -> None:
    left_ms: list[int] = []

    poll(sqs, lambda _event, context: left_ms.append(context.get_remaining_time_in_millis()), "one")

    assert 29_000 < left_ms[0] <= 30_000


def test_a_record_has_lambdas_form() -> None:
    message = {
        "MessageId": "m",
        "ReceiptHandle": "r",
        "Body": "{}",
        "MD5OfBody": "99",
        "Attributes": {"ApproximateReceiveCount": "1", "SenderId": "me", "SentTimestamp": "1000"},
        "MessageAttributes": {"kind": {"StringValue": "x", "DataType": "String"}},
    }

    (record,) = to_event(SOURCE, [message])["Records"]

    assert record == {
        "messageId": "m",
        "receiptHandle": "r",
        "body": "{}",
        "attributes": message["Attributes"],
        "messageAttributes": {"kind": {"stringValue": "x", "dataType": "String"}},
        "md5OfBody": "99",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:tiny-jobs",
        "awsRegion": "us-east-1",
    }


def test_notifications_sent_later_have_a_higher_sequencer() -> None:
    body = json.dumps(
        {
            "detail-type": "Object Created",
            "detail": {"object": {"key": "in/a", "sequencer": "same"}},
        }
    )
    message = {"MessageId": "m", "ReceiptHandle": "r", "Body": body, "MD5OfBody": "99"}

    records = to_event(
        SOURCE, [message | {"Attributes": {"SentTimestamp": sent}} for sent in ("999", "1000")]
    )
    first, second = (
        json.loads(record["body"])["detail"]["object"]["sequencer"] for record in records["Records"]
    )

    assert first < second
