"""Dead letters: what was too much for Lambda goes to the GPU once, and everything else ends with a
reason.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest

from handlers import batch, escalate
from onnxlift_runtime.dataplane.routing import ESCALATED
from onnxlift_runtime.errors import StoreUnavailable
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs.job import MAX_ATTEMPTS, Job, JobStatus
from onnxlift_runtime.jobservice.notifier import Notifier
from onnxlift_runtime.jobservice.service import now_ms
from onnxlift_runtime.names import BY_QUEUE, GPU, LAMBDA, dead_letter_name, queue_name
from tests.support.errors import missing
from tests.unit.handlers.conftest import CONTEXT, MODEL, SERVICE, Deployed, _forget, data_of

GPU_QUEUE, LAMBDA_QUEUE = queue_name(SERVICE, MODEL, GPU), queue_name(SERVICE, MODEL, LAMBDA)


@pytest.fixture
def with_gpu(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    """The service with GPU workers for its model, as far as queues go."""
    monkeypatch.setenv("ONNXLIFT_TIERS", f"{MODEL}={LAMBDA}+{GPU}")
    deployed.sqs.create_queue(QueueName=GPU_QUEUE)
    _forget()
    return deployed


def letter(job_id: str, queue: str = LAMBDA_QUEUE) -> dict[str, Any]:
    """A job's message as the dead-letter queue of ``queue`` hands it over."""
    return {
        "messageId": f"message-{job_id}",
        "receiptHandle": "r",
        "body": json.dumps({"job": job_id}),
        "attributes": {"ApproximateReceiveCount": "1"},
        "eventSourceARN": f"arn:aws:sqs:eu-central-1:123456789012:{dead_letter_name(queue)}",
    }


def take(*letters: dict[str, Any]) -> Any:
    """The ids of dead letters that must come again."""
    return escalate.handler({"Records": list(letters)}, CONTEXT)["batchItemFailures"]


def die(deployed: Deployed, job_id: str, lease_ms: int = -1) -> Job:
    """Claim a job as a worker on Lambda that does not come back."""
    table = batch.worker().service.table
    return table.change(
        job_id, lambda job: lifecycle.claim(job, "dead", now_ms(), lease_ms, LAMBDA)
    )


def waiting_on(queue: str) -> list[str]:
    """The jobs that the index has in a model's queue."""
    answer = boto3.client("dynamodb").query(
        TableName="jobs",
        IndexName=BY_QUEUE,
        KeyConditionExpression="queue = :queue",
        ExpressionAttributeValues={":queue": {"S": queue}},
    )
    return [item["id"]["S"] for item in answer["Items"]]


def test_a_job_whose_worker_died_goes_to_the_gpu_with_all_attempts(with_gpu: Deployed) -> None:
    job_id = with_gpu.submit()
    die(with_gpu, job_id)

    again = take(letter(job_id))

    job = with_gpu.job(job_id)
    assert again == []
    assert (job.status, job.tier, job.reason) == (JobStatus.QUEUED, GPU, ESCALATED)
    assert (job.attempts_left, job.lease_owner) == (MAX_ATTEMPTS, "")
    assert [record["body"] for record in with_gpu.receive(GPU_QUEUE)] == [
        json.dumps({"job": job_id})
    ]
    assert waiting_on(f"{MODEL}#gpu") == [job_id]
    assert waiting_on(f"{MODEL}#lambda") == []


def test_a_job_that_no_function_could_even_claim_goes_to_the_gpu(with_gpu: Deployed) -> None:
    job_id = with_gpu.submit()

    take(letter(job_id))

    assert with_gpu.job(job_id).tier == GPU


def test_the_same_dead_letter_many_times_at_once_escalates_once(with_gpu: Deployed) -> None:
    job_id = with_gpu.submit()
    die(with_gpu, job_id)
    escalate.process()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: take(letter(job_id)), range(8)))
    again = take(letter(job_id))

    job = with_gpu.job(job_id)
    assert again == []
    assert (job.status, job.tier, job.revision) == (JobStatus.QUEUED, GPU, 3)
    assert len(with_gpu.receive(GPU_QUEUE)) == 1


def test_an_old_message_on_lambda_does_not_take_an_escalated_job_back(with_gpu: Deployed) -> None:
    job_id = with_gpu.submit()
    take(letter(job_id))

    again = with_gpu.work()

    assert again == []
    assert (with_gpu.job(job_id).status, with_gpu.job(job_id).attempt) == (JobStatus.QUEUED, 0)


def test_a_job_that_a_worker_still_holds_is_left_to_it(with_gpu: Deployed) -> None:
    job_id = with_gpu.submit()
    die(with_gpu, job_id, lease_ms=60_000)

    again = take(letter(job_id))

    assert again == [{"itemIdentifier": f"message-{job_id}"}]
    assert with_gpu.job(job_id).tier == LAMBDA


def test_a_dead_letter_without_a_gpu_is_a_failed_job_that_says_why(deployed: Deployed) -> None:
    job_id = deployed.submit()
    die(deployed, job_id)

    again = take(letter(job_id))

    shown = deployed.show(job_id)
    assert again == []
    assert shown["status"] == "FAILED"
    assert missing(shown["error"], 1, ESCALATED, "GPU") == []


def test_a_dead_letter_of_the_gpu_is_a_failed_job(with_gpu: Deployed) -> None:
    job_id = with_gpu.submit()
    take(letter(job_id))

    take(letter(job_id, GPU_QUEUE))

    assert with_gpu.show(job_id)["status"] == "FAILED"
    assert missing(with_gpu.show(job_id)["error"], "GPU") == []


def test_a_dead_letter_of_a_finished_job_changes_nothing(with_gpu: Deployed) -> None:
    job_id = with_gpu.submit(7)
    with_gpu.work()
    before = with_gpu.job(job_id)

    again = take(letter(job_id))

    assert again == []
    assert with_gpu.job(job_id) == before
    assert data_of(with_gpu.call("GET", f"/v2/jobs/{job_id}/result")) == [7, 7]


def test_a_message_without_a_job_is_done_with_and_its_neighbours_are_taken(
    with_gpu: Deployed,
) -> None:
    job_id = with_gpu.submit()

    again = take(letter("nobody"), letter("?") | {"body": "{"}, letter(job_id))

    assert again == []
    assert with_gpu.job(job_id).tier == GPU


def test_the_sweep_escalates_a_job_whose_worker_died(with_gpu: Deployed) -> None:
    job_id = with_gpu.submit()
    with_gpu.announced()
    die(with_gpu, job_id)

    done, again = with_gpu.sweep(), with_gpu.sweep()

    job = with_gpu.job(job_id)
    assert (done["escalated"], again.get("escalated", 0)) == (1, 0)
    assert (job.status, job.tier, job.reason) == (JobStatus.QUEUED, GPU, ESCALATED)
    assert len(with_gpu.receive(GPU_QUEUE)) == 1


def test_the_sweep_gives_a_job_back_to_lambda_where_there_is_no_gpu(deployed: Deployed) -> None:
    job_id = deployed.submit()
    die(deployed, job_id)

    deployed.sweep()

    assert (deployed.job(job_id).status, deployed.job(job_id).tier) == (JobStatus.QUEUED, LAMBDA)


def test_an_end_that_cannot_be_told_is_told_when_the_dead_letter_comes_again(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, told = deployed.submit(), []
    deployed.announced()
    die(deployed, job_id)

    def tell(_notifier: Notifier, job: Job) -> None:
        told.append(job.status)
        if len(told) == 1:
            raise StoreUnavailable("no answer from events; try again")

    monkeypatch.setattr(Notifier, "tell", tell)

    again = (take(letter(job_id)), take(letter(job_id)))

    assert again == ([{"itemIdentifier": f"message-{job_id}"}], [])
    assert told == [JobStatus.FAILED, JobStatus.FAILED]
    assert deployed.announced() == [], "this function may not write to the queues of jobs"
