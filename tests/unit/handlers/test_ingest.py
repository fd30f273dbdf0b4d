"""The function that ingests, in front of moto: what it takes, what it hands back, and that it never
crashes.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handlers import ingest
from onnxlift_runtime.aws import clients
from onnxlift_runtime.errors import StoreUnavailable
from onnxlift_runtime.jobs.job import JobStatus
from onnxlift_runtime.jobservice.ingest import Ingest
from onnxlift_runtime.jobservice.service import JobService
from onnxlift_runtime.names import ingest_queue_name, public_queue_name
from onnxlift_runtime.settings import Settings
from tests.support.runtime.inboxes import Inbox, npy
from tests.support.runtime.job_service import SERVICE, service  # noqa: F401 - a fixture

CALL = {
    "model": "tiny",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [5, 6]}],
}


@pytest.fixture
def inbox(service: JobService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:  # noqa: F811
    settings = Settings(service=SERVICE, models_dir=tmp_path, jobs_table="jobs", data_bucket="data")
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    clients._client.cache_clear()
    ingest.ingest.cache_clear()
    yield Inbox.open(service, tmp_path)
    clients._client.cache_clear()
    ingest.ingest.cache_clear()


def record(
    body: str, queue: str = ingest_queue_name(SERVICE), message_id: str = "m-1"
) -> dict[str, Any]:
    arn = f"arn:aws:sqs:us-east-1:123456789012:{queue}"
    return {
        "messageId": message_id,
        "body": body,
        "eventSourceARN": arn,
        "attributes": {"SenderId": "sender"},
    }


def take(*records: dict[str, Any]) -> list[str]:
    answer = ingest.handler({"Records": list(records)}, None)
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def test_objects_and_messages_of_one_event_each_become_a_job(inbox: Inbox) -> None:
    dropped = record(inbox.put("in/tiny/a.npy", npy(np.ones((1, 2), np.float32))))
    sent = record(json.dumps(CALL), public_queue_name(SERVICE), "m-2")

    failed = take(dropped, sent)
    inbox.settle()

    assert failed == []
    assert [job.status for job in inbox.jobs("s3") + inbox.jobs("sqs:sender")] == [
        JobStatus.SUCCEEDED
    ] * 2


def test_bad_objects_are_explained_in_out_by_the_function_itself(inbox: Inbox) -> None:
    failed = take(
        record(inbox.put("in/nobody/a.npy", b"x")), record(inbox.put("in/tiny/empty.npy", b""))
    )

    assert failed == []
    assert sorted(inbox.out()) == ["nobody/a.npy.error.json", "tiny/empty.npy.error.json"]


def test_a_notification_in_the_public_queue_is_only_a_malformed_message(inbox: Inbox) -> None:
    forged = record(inbox.put("in/tiny/a.npy", b"x"), public_queue_name(SERVICE))

    assert take(forged) == []
    assert inbox.jobs("s3") == []
    assert "unknown member 'Records'" in inbox.jobs("sqs:sender")[0].error


def test_what_fails_comes_again_alone(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Ingest.take_object

    def away(self: Ingest, dropped: Any) -> Any:
        if dropped.key.endswith("b.npy"):
            raise StoreUnavailable("DynamoDB is away")
        return real(self, dropped)

    monkeypatch.setattr(Ingest, "take_object", away)
    body = npy(np.ones((1, 2), np.float32))
    good, bad = inbox.put("in/tiny/a.npy", body), inbox.put("in/tiny/b.npy", body)

    failed = take(
        record(bad, message_id="bad"),
        record(good, message_id="good"),
        record("junk", message_id="junk"),
    )

    assert failed == ["bad", "junk"]
    assert len(inbox.jobs()) == 1


def test_a_message_for_a_job_that_is_gone_is_done_with(inbox: Inbox) -> None:
    assert take(record('{"job": "gone"}')) == []
