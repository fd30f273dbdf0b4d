"""Jobs on this machine: by API, queue and bucket, over a restart, and past the death of a
worker.
"""

import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from onnxlift.cli import main
from onnxlift.client import Client, JobRecord, Jobs
from onnxlift.local.moto.resources import client
from onnxlift.local.process import RunningService, running_service
from onnxlift_runtime.errors import ServiceRefused
from tests.integration.conftest import write_config
from tests.support import builders
from tests.support.errors import raises

BUCKET = "tiny-123456789012-us-east-1"
WITHIN_S = 180
ROW = np.array([[1.0, 2.0, 3.0, 4.0]], dtype=np.float32)


def endpoint(service: RunningService) -> str:
    """What `serve` prints for `aws --endpoint-url`."""
    (line,) = (line for line in service.lines if line.startswith("AWS endpoint "))
    return line.split()[2]


def eventually(look: Callable[[], Any]) -> Any:
    """What ``look`` finds, as soon as it finds something."""
    deadline = monotonic() + WITHIN_S
    while not (found := look()):
        assert monotonic() < deadline, "nothing came"
        sleep(0.05)
    return found


def ended(jobs: Jobs, job_id: str) -> JobRecord:
    record = jobs.wait(job_id, WITHIN_S)
    assert record.final
    return record


@pytest.fixture(scope="module")
def config_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs")
    builders.write_artifact(folder / "artifacts", builders.linear(), name="linear")
    return write_config(folder, "linear")


@pytest.fixture(scope="module")
def service(config_path: Path) -> Iterator[RunningService]:
    with running_service(config_path, ["--quiet", "--sweep-every", "1"]) as running:
        yield running


@pytest.fixture
def jobs(service: RunningService) -> Iterator[Jobs]:
    with Client(service.url) as opened:
        yield Jobs(opened)


def test_a_job_gives_what_the_same_request_gives_at_once(
    service: RunningService, jobs: Jobs
) -> None:
    with Client(service.url) as opened:
        expected = opened.infer("linear", {"x": ("FP32", ROW)}).outputs

    record = ended(jobs, jobs.submit("linear", {"x": ("FP32", ROW)}).id)

    assert (record.status, record.attempts) == ("SUCCEEDED", 1)
    found = jobs.result(record.id).outputs
    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in expected.items()
    }


def test_a_result_above_64_kb_is_fetched_from_the_bucket(jobs: Jobs) -> None:
    rows = np.tile(ROW, (256, 1))

    ids = [
        jobs.submit("linear", {"x": ("FP32", rows)}, binary=binary).id for binary in (True, False)
    ]

    for job_id in ids:
        assert ended(jobs, job_id).succeeded
        assert all(len(array) == len(rows) for array in jobs.result(job_id).outputs.values())


def test_the_same_key_gives_the_same_job(jobs: Jobs) -> None:
    first = jobs.submit("linear", {"x": ("FP32", ROW)}, key="once")
    second = jobs.submit("linear", {"x": ("FP32", ROW)}, key="once")

    assert first.id == second.id


def test_another_callers_job_does_not_exist(service: RunningService, jobs: Jobs) -> None:
    mine = jobs.submit("linear", {"x": ("FP32", ROW)})

    with (
        Client(service.url, api_key="somebody-else") as opened,
        raises(ServiceRefused, 404),
    ):
        Jobs(opened).show(mine.id)


def test_a_dropped_object_is_answered_below_out(service: RunningService) -> None:
    s3, file = client("s3", endpoint(service)), io.BytesIO()
    np.save(file, ROW)

    s3.put_object(Bucket=BUCKET, Key="in/linear/some folder/ü.npy", Body=file.getvalue())

    (key,) = eventually(
        lambda: [
            item["Key"]
            for item in s3.list_objects_v2(Bucket=BUCKET, Prefix="out/").get("Contents", ())
        ]
    )
    assert key == "out/linear/some folder/ü.npy.npz"


def test_a_message_is_answered_on_the_queue_it_names(service: RunningService) -> None:
    sqs = client("sqs", endpoint(service))
    mine = sqs.create_queue(QueueName="mine")["QueueUrl"]
    message = {
        "model": "linear",
        "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}],
        "reply_to": mine,
    }

    sqs.send_message(
        QueueUrl=sqs.get_queue_url(QueueName="tiny-jobs")["QueueUrl"],
        MessageBody=json.dumps(message),
    )

    (answer,) = sqs.receive_message(QueueUrl=mine, WaitTimeSeconds=20)["Messages"]
    assert json.loads(answer["Body"])["job"]["status"] == "SUCCEEDED"


def test_invoke_follows_a_job_and_shows_its_outputs(service: RunningService) -> None:
    shown = ["-i", "x=[1,2,3,4]", "--url", service.url, "--json"]

    at_once = CliRunner().invoke(main, ["invoke", "linear", *shown])
    later = CliRunner().invoke(main, ["invoke", "linear", *shown, "--async", "--wait"])

    assert later.exit_code == 0, later.stderr
    assert later.stdout == at_once.stdout
    assert later.stderr.splitlines()[-1].endswith("SUCCEEDED")


def test_jobs_are_listed_shown_and_fetched_from_the_command_line(
    service: RunningService, tmp_path: Path
) -> None:
    mine = ["--url", service.url, "--api-key", "lister"]
    job_id = (
        CliRunner()
        .invoke(main, ["invoke", "linear", "-i", "x=[1,2,3,4]", *mine, "--async"])
        .stdout.strip()
    )

    with Client(service.url, api_key="lister") as opened:
        ended(Jobs(opened), job_id)
    listed = CliRunner().invoke(main, ["jobs", "list", *mine])
    shown = CliRunner().invoke(main, ["jobs", "show", job_id, *mine, "--json"])
    fetched = CliRunner().invoke(
        main, ["jobs", "result", job_id, *mine, "--output", str(tmp_path / "result")]
    )
    canceled = CliRunner().invoke(main, ["jobs", "cancel", job_id, *mine])

    assert job_id in listed.stdout
    assert json.loads(shown.stdout)["status"] == "SUCCEEDED"
    assert fetched.exit_code == 0
    assert (tmp_path / "result").stat().st_size > 0
    assert (canceled.exit_code, canceled.stderr.strip()) == (
        1,
        f"the service answered 409: job {job_id} is already SUCCEEDED",
    )


def test_a_worker_that_dies_is_replaced_and_its_queue_goes_on(config_path: Path) -> None:
    with running_service(config_path, ["--quiet"]) as service, Client(service.url) as opened:
        jobs = Jobs(opened)
        ended(jobs, jobs.submit("linear", {"x": ("FP32", ROW)}).id)
        (worker,) = _workers(service.process.pid)
        os.kill(worker, signal.SIGKILL)

        record = ended(jobs, jobs.submit("linear", {"x": ("FP32", ROW)}).id)

    assert record.succeeded


def test_jobs_and_objects_are_there_again_after_a_restart(
    config_path: Path, tmp_path: Path
) -> None:
    arguments = ["--quiet", "--persist", str(tmp_path / "kept")]
    rows = np.tile(ROW, (256, 1))
    with running_service(config_path, arguments) as service, Client(service.url) as opened:
        job_id = Jobs(opened).submit("linear", {"x": ("FP32", rows)}, binary=False).id
        ended(Jobs(opened), job_id)
        before = Jobs(opened).result(job_id).outputs
        client("s3", endpoint(service)).put_object(Bucket=BUCKET, Key="uploads/mine", Body=b"kept")

    with running_service(config_path, arguments) as service, Client(service.url) as opened:
        again = Jobs(opened).result(job_id).outputs
        kept = (
            client("s3", endpoint(service))
            .get_object(Bucket=BUCKET, Key="uploads/mine")["Body"]
            .read()
        )

    assert {name: array.tolist() for name, array in again.items()} == {
        name: array.tolist() for name, array in before.items()
    }
    assert kept == b"kept"


def _workers(parent: int) -> list[int]:
    import psutil

    children = psutil.Process(parent).children()
    return [
        child.pid for child in children if "onnxlift.local.workers.queue_worker" in child.cmdline()
    ]
