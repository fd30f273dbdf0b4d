"""Messages on the public queue: one job and one answer each, however often they come."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from onnxlift_runtime.jobs.job import JobStatus
from onnxlift_runtime.jobservice.service import JobService
from tests.support.runtime.inboxes import CALL, ROWS, Inbox, npy

HALF = chr(0xD800)  # of a character, which JSON can say and UTF-8 cannot


@pytest.fixture
def inbox(service: JobService, tmp_path: Path) -> Inbox:
    return Inbox.open(service, tmp_path)


def test_a_message_is_answered_as_a_job_of_its_sender(inbox: Inbox) -> None:
    job = inbox.message({"model": "tiny", **CALL, "reply_to": "https://queue"})
    inbox.settle()

    done = inbox.service.get(job.id, "sqs:sender")
    assert (done.status, done.delivery.reply_queue) == (JobStatus.SUCCEEDED, "https://queue")
    assert done.result is not None
    assert json.loads(done.result.body or b"")["outputs"][0]["data"] == [5, 6]


def test_a_message_delivered_twice_at_once_is_one_job(inbox: Inbox) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: inbox.message({"model": "tiny", **CALL}), range(8)))
    inbox.settle()
    inbox.message({"model": "tiny", **CALL})

    assert len({job.id for job in made}) == 1
    assert [job.attempt for job in inbox.jobs("sqs:sender")] == [1]


def test_a_message_may_name_an_object(inbox: Inbox) -> None:
    inbox.put("uploads/mine", npy(ROWS))

    job = inbox.message({"model": "tiny", "s3": {"key": "uploads/mine", "format": "npy"}})
    inbox.settle()

    assert inbox.service.get(job.id, "sqs:sender").status is JobStatus.SUCCEEDED


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ({"model": "tiny", "idempotency_key": HALF, **CALL}, "not JSON"),
        ({"model": HALF, **CALL}, "not JSON"),
        ([1], "expected an object"),
        ({}, "both or neither"),
        ({"model": "tiny", "input": []}, "unknown member 'input'"),
        ({"inputs": []}, "no 'model'"),
        ({"model": 1, "inputs": []}, "'model' is a whole number"),
        ({"model": "nobody", **CALL}, "'nobody' does not exist"),
        ({"model": "tiny", "version": 9, **CALL}, "no version '9'"),
        ({"model": "tiny", "s3": {"key": "results/tiny/x"}}, "read are objects below"),
        ({"model": "tiny", "s3": {"key": "uploads/x", "bucket": "other"}}, "only 'data' is read"),
        ({"model": "tiny", "s3": {"key": "uploads/x.npy"}}, "does not exist"),
        ({"model": "tiny", "s3": {"key": "uploads/x", "format": "exe"}}, "allowed: npy"),
        ({"model": "tiny", "s3": {"key": "uploads/x", "etag": ""}}, "unknown member 'etag'"),
        ({"model": "tiny", "reply_to": "queue", **CALL}, "the URL of an SQS queue"),
        ({"model": "tiny", "ttl_s": 1, **CALL}, "allowed: 60"),
        ({"model": "t" * 300, **CALL}, "300 characters"),
        ({"model": "tiny", "z" * 500_000: 1}, "unknown member 'zzz"),  # more than the table takes
    ],
)
def test_a_malformed_message_is_a_failed_job_with_a_reason(
    inbox: Inbox, document: Any, why: str
) -> None:
    inbox.message(document)
    inbox.message(document)

    (job,) = inbox.jobs("sqs:sender")
    assert job.status is JobStatus.FAILED
    assert why in job.error
    assert inbox.teller.jobs == [job, job]


def test_a_refused_message_is_told_to_the_queue_it_names(inbox: Inbox) -> None:
    job = inbox.message({"model": "tiny", "reply_to": "https://queue", "typo": 1})

    assert (job.model, job.delivery.reply_queue) == ("tiny", "https://queue")


def test_an_idempotency_key_holds_over_messages_and_refuses_other_inputs(inbox: Inbox) -> None:
    first = inbox.message({"model": "tiny", "idempotency_key": "k", **CALL}, "m-1")
    again = inbox.message({"model": "tiny", "idempotency_key": "k", **CALL}, "m-2")
    other = inbox.message({"model": "tiny", "idempotency_key": "k", "inputs": []}, "m-3")

    assert first.id == again.id
    assert (other.status, "used for another request" in other.error) == (JobStatus.FAILED, True)
