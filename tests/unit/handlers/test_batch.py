"""What the batch function does with the messages of jobs, beside each other and when something is
away.
"""

import pytest

from handlers import batch
from onnxlift_runtime.aws.queues import Queues
from onnxlift_runtime.dataplane.engine import Engine
from onnxlift_runtime.errors import StoreUnavailable
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs.job import MAX_ATTEMPTS, Job
from onnxlift_runtime.jobservice.notifier import Notifier
from tests.unit.handlers.conftest import CONTEXT, MODEL, Deployed


def test_a_poison_message_and_a_held_job_leave_their_neighbours_alone(deployed: Deployed) -> None:
    good, held = deployed.submit(1), deployed.submit(2)
    batch.worker().service.table.change(
        held, lambda job: lifecycle.claim(job, "other", job.created_ms, 10**9)
    )
    records = deployed.receive(f"test-{MODEL}-lambda-jobs")
    poison = {**records[0], "messageId": "poison", "body": "no job"}

    failures = batch.handler({"Records": [poison, *records]}, CONTEXT)["batchItemFailures"]

    expected = next(record["messageId"] for record in records if held in record["body"])
    assert failures == [{"itemIdentifier": expected}]
    assert deployed.show(good)["status"] == "SUCCEEDED"


def test_suspects_behind_others_come_again_soon_should_the_function_end_with_these(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(BaseException):
        pass

    def end(*_arguments: object) -> None:
        raise Ended

    first, suspect = deployed.submit(1), deployed.submit(2)
    batch.worker().service.table.change(
        suspect, lambda job: lifecycle.claim(job, "dead", job.created_ms, 0)
    )
    records = deployed.receive(f"test-{MODEL}-lambda-jobs")
    hidden: list[tuple[str, int]] = []
    monkeypatch.setattr(
        Queues,
        "postpone",
        lambda _queues, _name, receipt, delay_s: hidden.append((receipt, delay_s)),
    )
    monkeypatch.setattr(Engine, "run", end)

    with pytest.raises(Ended):
        batch.handler({"Records": records}, CONTEXT)

    expected = next(record["receiptHandle"] for record in records if suspect in record["body"])
    assert hidden == [(expected, 66)]
    assert [deployed.job(job_id).attempts_left for job_id in (first, suspect)] == [
        MAX_ATTEMPTS - 1
    ] * 2
    assert deployed.job(suspect).deaths == 0, "it was not claimed again"


def test_a_job_held_by_another_comes_again_soon(deployed: Deployed) -> None:
    job_id = deployed.submit()
    batch.worker().service.table.change(
        job_id, lambda job: lifecycle.claim(job, "other", job.created_ms, 10**9)
    )

    assert len(deployed.work()) == 1
    url = deployed.sqs.get_queue_url(QueueName=f"test-{MODEL}-lambda-jobs")["QueueUrl"]
    hidden = deployed.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert hidden["ApproximateNumberOfMessagesNotVisible"] == "1"


def test_an_end_that_cannot_be_told_is_told_with_the_message(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def tell(_notifier: Notifier, job: Job) -> None:
        told.append(job.id)
        if len(told) == 1:
            raise StoreUnavailable("EventBridge is away")

    monkeypatch.setattr(Notifier, "tell", tell)
    job_id = deployed.submit()

    assert len(deployed.work()) == 1
    assert deployed.show(job_id)["status"] == "SUCCEEDED"
    assert batch.worker().work([job_id], 1_000) == frozenset()
    assert told == [job_id, job_id]
