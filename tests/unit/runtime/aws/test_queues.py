"""Receiving, keeping and deleting a job's messages."""

import boto3
import pytest

from onnxlift_runtime.aws.queues import MAX_AT_ONCE, MAX_DELAY_S, backoff_s
from onnxlift_runtime.jobs.job import Payload
from onnxlift_runtime.jobservice.service import JobService, Submission
from onnxlift_runtime.names import LAMBDA
from tests.support.runtime.job_service import CALLER, MODEL


def submit(service: JobService, count: int) -> list[str]:
    return [
        service.submit(Submission(CALLER, MODEL, "1", Payload.of(b"{}", {}))).id
        for _ in range(count)
    ]


def test_what_is_received_is_hidden_until_it_is_given_back(service: JobService) -> None:
    made = submit(service, 3)

    received = service.queues.receive(MODEL, LAMBDA, 10, 0, 60)
    hidden = service.queues.receive(MODEL, LAMBDA, 10, 0, 60)
    service.queues.postpone(received[0].queue, received[0].receipt_handle, 0)
    (again,) = service.queues.receive(MODEL, LAMBDA, 10, 0, 60)

    assert sorted(message.job_id for message in received) == sorted(made)
    assert hidden == []
    assert (again.job_id, again.receives) == (received[0].job_id, 2)


def test_a_message_without_a_job_is_logged_and_deleted(
    service: JobService, capsys: pytest.CaptureFixture[str]
) -> None:
    sqs = boto3.client("sqs")
    url = sqs.list_queues()["QueueUrls"][0]
    sqs.send_message(QueueUrl=url, MessageBody="hello")

    assert service.queues.receive(MODEL, LAMBDA, 10, 0, 60) == []
    assert service.queues.messages(MODEL, LAMBDA) == 0
    assert "message without a job" in capsys.readouterr().out


def test_more_messages_than_one_call_takes_are_kept_hidden(service: JobService) -> None:
    submit(service, MAX_AT_ONCE + 5)
    received = [
        message for _ in range(3) for message in service.queues.receive(MODEL, LAMBDA, 10, 0, 60)
    ]

    refused = service.queues.extend(received, 600)

    assert (len(received), refused) == (MAX_AT_ONCE + 5, 0)


def test_a_deleted_message_does_not_come_again(service: JobService) -> None:
    submit(service, 1)
    (message,) = service.queues.receive(MODEL, LAMBDA, 10, 0, 60)

    service.queues.delete(message)

    assert service.queues.messages(MODEL, LAMBDA) == 0


def test_the_delay_grows_up_to_a_bound() -> None:
    delays = [backoff_s(receives) for receives in range(1, 30)]

    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (5, MAX_DELAY_S)
