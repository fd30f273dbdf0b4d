"""What the schedule does with jobs that nobody works on any more."""

from dataclasses import replace

import pytest

from handlers import batch, control
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.dataplane.routing import ESCALATED, MOVED
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs.job import MAX_ATTEMPTS, JobStatus
from onnxlift_runtime.jobs.queueing import LOST_AFTER_MS
from onnxlift_runtime.jobservice.sweep import SERVED
from onnxlift_runtime.names import GPU, LAMBDA
from tests.support.errors import missing
from tests.unit.handlers.conftest import MODEL, Deployed, data_of, later


def test_a_sweep_of_healthy_jobs_does_nothing(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed.submit()
    later(deployed, monkeypatch, LOST_AFTER_MS)

    assert deployed.sweep() == {
        "expired": 0,
        "reclaimed": 0,
        "resent": 0,
        "moved": 0,
        "orphaned": 0,
    }


def test_a_sweep_sends_lost_messages_again(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [deployed.submit() for _ in range(3)]
    deployed.sqs.purge_queue(
        QueueUrl=deployed.sqs.get_queue_url(QueueName=f"test-{MODEL}-lambda-jobs")["QueueUrl"]
    )
    early = deployed.sweep()
    later(deployed, monkeypatch, LOST_AFTER_MS)

    assert early["resent"] == 0
    assert deployed.sweep()["resent"] == 3
    assert deployed.sweep()["resent"] == 0
    assert sorted(deployed.announced()) == sorted(made)


def test_a_sweep_takes_jobs_from_dead_workers(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    once, thrice = deployed.submit(1), deployed.submit(2)
    table = batch.worker().service.table
    for job_id, times in ((once, 1), (thrice, MAX_ATTEMPTS)):
        for _ in range(times):
            table.change(job_id, lambda job: lifecycle.claim(job, "dead", job.created_ms, 0))
    deployed.announced()

    assert deployed.sweep()["reclaimed"] == 2
    assert [deployed.job(job_id).status for job_id in (once, thrice)] == [
        JobStatus.QUEUED,
        JobStatus.FAILED,
    ]
    deployed.work()
    assert data_of(deployed.call("GET", f"/v2/jobs/{once}/result")) == [1, 1]


def test_a_sweep_expires_what_waited_too_long(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = deployed.submit(x_onnxlift_ttl="1")
    later(deployed, monkeypatch, 2_000)

    assert deployed.sweep()["expired"] == 1
    assert deployed.show(job_id)["status"] == "EXPIRED"


def test_a_sweep_takes_jobs_along_whose_model_runs_elsewhere_now(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = deployed.submit(3)
    deployed.announced()
    table = batch.worker().service.table
    table.change(
        job_id, lambda job: lifecycle.escalate(job, GPU, ESCALATED, job.created_ms)
    )  # and its queue is gone
    early = deployed.sweep()
    later(deployed, monkeypatch, LOST_AFTER_MS)

    late = deployed.sweep()

    job = deployed.job(job_id)
    assert (early["moved"], late["moved"], job.tier, job.reason) == (0, 1, LAMBDA, MOVED)
    deployed.work()
    assert data_of(deployed.call("GET", f"/v2/jobs/{job_id}/result")) == [3, 3]


def test_a_sweep_expires_what_waited_too_long_where_its_model_no_longer_runs(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = deployed.submit(x_onnxlift_ttl="1")
    table = batch.worker().service.table
    table.change(job_id, lambda job: lifecycle.escalate(job, GPU, ESCALATED, job.created_ms))
    later(deployed, monkeypatch, 2_000)

    assert deployed.sweep()["expired"] == 1
    assert deployed.job(job_id).status is JobStatus.EXPIRED


def leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deploy the service without its models."""
    without = replace(control.service(), models=Catalog.of([]))
    monkeypatch.setattr(control, "service", lambda: without)


def test_a_sweep_ends_the_jobs_of_a_model_that_left_the_service(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, held = deployed.submit(), deployed.submit()
    table = batch.worker().service.table
    table.change(
        held, lambda job: lifecycle.claim(job, "a worker", job.created_ms, 10 * LOST_AFTER_MS)
    )
    deployed.sweep()
    leave(monkeypatch)
    early = deployed.sweep()
    later(deployed, monkeypatch, LOST_AFTER_MS)

    late = deployed.sweep()

    assert (early["orphaned"], late["orphaned"]) == (0, 1)
    assert [deployed.job(job_id).status for job_id in (waiting, held)] == [
        JobStatus.FAILED,
        JobStatus.RUNNING,
    ]
    assert missing(deployed.show(waiting)["error"], f"'{MODEL}'") == []


def test_a_job_of_a_model_that_left_cannot_be_retried(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = deployed.submit()
    deployed.call("POST", f"/v2/jobs/{job_id}/cancel")
    jobs_api = replace(control.jobs_api(), models=Catalog.of([]))
    monkeypatch.setattr(control, "jobs_api", lambda: jobs_api)
    control._job_routes.cache_clear()

    answer = deployed.call("POST", f"/v2/jobs/{job_id}/retry")

    assert answer.status == 409
    assert f"model '{MODEL}' was taken out of the service".encode() in answer.body
    assert deployed.job(job_id).status is JobStatus.CANCELED


def test_a_model_that_left_is_forgotten_with_its_last_job(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = deployed.submit()
    table = batch.worker().service.table
    table.change(held, lambda job: lifecycle.claim(job, "dead", job.created_ms, 0))
    deployed.sweep()
    leave(monkeypatch)
    later(deployed, monkeypatch, LOST_AFTER_MS)

    noted = [deployed.sweep()["orphaned"], table.read_note(SERVED).get("served")]
    deployed.sweep()

    assert noted == [1, {MODEL}]
    assert "served" not in table.read_note(SERVED)
