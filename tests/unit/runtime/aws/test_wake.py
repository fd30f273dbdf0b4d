"""Waking GPU workers: only where somebody sleeps, at most once a minute, and never at the cost of a
job.
"""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from onnxlift_runtime.aws import clients
from onnxlift_runtime.aws.wake import LOOK_EVERY_S, Alarm
from onnxlift_runtime.jobs.job import Job, Payload
from onnxlift_runtime.jobservice.service import Submission
from onnxlift_runtime.jobservice.wiring import alarm, connect, open_intake
from onnxlift_runtime.names import GPU, LAMBDA, gpu_cluster_name, gpu_service_name, queue_name
from onnxlift_runtime.settings import Settings
from tests.support.runtime.cloud import one_at_a_time
from tests.support.runtime.job_service import create_table

SERVICE, MODEL = "test", "tiny"
CLUSTER, WORKERS = gpu_cluster_name(SERVICE), gpu_service_name(SERVICE, MODEL)


@pytest.fixture
def ecs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An ECS service of GPU workers of which none is wanted."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with one_at_a_time():
        client = boto3.client("ecs")
        client.create_cluster(clusterName=CLUSTER)
        container = {"name": "worker", "image": "worker", "memory": 128}
        client.register_task_definition(family="worker", containerDefinitions=[container])
        client.create_service(
            cluster=CLUSTER, serviceName=WORKERS, taskDefinition="worker", desiredCount=0
        )
        yield client


def job(tier: str = GPU) -> Job:
    return Job("j", "me", MODEL, "1", Payload.of(b"{}", {}), 0, 10_000, tier=tier)


def wanted(ecs: Any) -> int:
    (found,) = ecs.describe_services(cluster=CLUSTER, services=[WORKERS])["services"]
    count: int = found["desiredCount"]
    return count


def test_a_job_for_sleeping_workers_wakes_one(ecs: Any) -> None:
    waker = Alarm(lambda: ecs, CLUSTER, SERVICE)

    waker.wake(job())

    assert wanted(ecs) == 1
    assert not waker.is_awake(MODEL)


def test_workers_that_are_wanted_already_stay_as_many(ecs: Any) -> None:
    ecs.update_service(cluster=CLUSTER, service=WORKERS, desiredCount=3)

    Alarm(lambda: ecs, CLUSTER, SERVICE).wake(job())

    assert wanted(ecs) == 3


def test_a_job_for_lambda_wakes_nobody(ecs: Any) -> None:
    Alarm(lambda: ecs, CLUSTER, SERVICE).wake(job(LAMBDA))

    assert wanted(ecs) == 0


def test_workers_are_looked_at_once_a_minute(ecs: Any) -> None:
    times = [0.0]
    waker = Alarm(lambda: ecs, CLUSTER, SERVICE, lambda: times[-1])
    waker.wake(job())
    ecs.update_service(cluster=CLUSTER, service=WORKERS, desiredCount=0)

    times.append(LOOK_EVERY_S - 1)
    waker.wake(job())
    before = wanted(ecs)
    times.append(LOOK_EVERY_S)
    waker.wake(job())

    assert (before, wanted(ecs)) == (0, 1)


@pytest.mark.parametrize("cluster", ["another", CLUSTER])
def test_a_service_that_is_not_there_is_logged_and_no_failure(
    ecs: Any, cluster: str, capsys: pytest.CaptureFixture[str]
) -> None:
    waker = Alarm(lambda: ecs, cluster, "another")

    assert not waker.is_awake(MODEL)
    assert cluster == CLUSTER or "not woken" in "".join(capsys.readouterr())


def test_a_refusal_to_update_is_logged_and_no_failure(
    ecs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    client = boto3.client("ecs")
    with Stubber(client) as stub:
        stub.add_response(
            "describe_services", {"services": [{"desiredCount": 0, "runningCount": 0}]}
        )
        stub.add_client_error("update_service", "AccessDeniedException")

        Alarm(lambda: client, CLUSTER, SERVICE).wake(job())

    assert "AccessDeniedException" in "".join(capsys.readouterr())


def test_a_job_does_not_wait_long_for_ecs(ecs: Any) -> None:
    config = clients.ecs().meta.config

    assert (
        config.retries["total_max_attempts"] * (config.connect_timeout + config.read_timeout) <= 3
    )


def test_without_a_cluster_everybody_is_awake_and_nobody_is_asked() -> None:
    waker = alarm(Settings())

    waker.wake(job())

    assert waker.is_awake(MODEL)


def test_submitting_for_the_gpu_wakes_and_submitting_for_lambda_does_not(ecs: Any) -> None:
    create_table(boto3.client("dynamodb"))
    for tier in (GPU, LAMBDA):
        boto3.client("sqs").create_queue(QueueName=queue_name(SERVICE, MODEL, tier))
    service = connect(
        Settings(service=SERVICE, jobs_table="jobs", data_bucket="data", gpu_cluster=CLUSTER)
    )
    asked = Submission("me", MODEL, "1", Payload.of(b"{}", {}))

    service.submit(asked)
    before = wanted(ecs)
    service.submit(Submission("me", MODEL, "1", Payload.of(b"{}", {}), tier=GPU))

    assert (before, wanted(ecs)) == (0, 1)


def test_an_intake_looks_once_for_submitting_and_for_telling_how_long_it_takes(ecs: Any) -> None:
    create_table(boto3.client("dynamodb"))
    boto3.client("sqs").create_queue(QueueName=queue_name(SERVICE, MODEL, GPU))
    intake = open_intake(
        Settings(service=SERVICE, jobs_table="jobs", data_bucket="data", gpu_cluster=CLUSTER)
    )
    looks: list[str] = []
    clients.ecs().meta.events.register(
        "before-call.ecs.DescribeServices", lambda **_call: looks.append("look")
    )

    intake.service.submit(Submission("me", MODEL, "1", Payload.of(b"{}", {}), tier=GPU))

    assert not intake.is_awake(MODEL)
    assert looks == ["look"]
