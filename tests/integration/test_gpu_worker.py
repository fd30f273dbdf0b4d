"""The GPU worker as a process: through its life, and through a short fire."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from benchmarks.gpu_worker import chaos
from benchmarks.gpu_worker.faults import Rates
from onnxlift.local.moto.cloud import Cloud, open_cloud
from onnxlift_runtime.jobs.job import Job, JobStatus
from onnxlift_runtime.jobservice.service import JobService
from tests.support import builders

WITHIN_S = 180


def test_no_job_is_lost_or_doubled_while_workers_die_stop_and_lose_their_calls() -> None:
    short = chaos.Chaos(
        jobs=40,
        workers=2,
        every_s=2.0,
        rates=Rates(hanging=0.0),
        jump_s=2.0,
        run_s=0.2,
        visibility_s=4,
        stop_within_s=6,
        give_up_s=WITHIN_S,
    )

    found = chaos.run(short)

    assert found.problems == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    builders.write_artifact(folder / "artifacts", builders.linear(), name=chaos.MODEL)
    (folder / "onnxlift.toml").write_text(chaos.CONFIG)
    return folder


@pytest.fixture(scope="module")
def cloud(folder: Path) -> Iterator[Cloud]:
    with open_cloud(folder / "onnxlift.toml") as opened:
        chaos.create_queue(opened.url)
        yield opened


def start(cloud: Cloud, folder: Path, **changes: str) -> "subprocess.Popen[str]":
    environ = (
        chaos.environment(chaos.Chaos(), cloud, folder) | {"ONNXLIFT_LOG_LEVEL": "INFO"} | changes
    )
    return subprocess.Popen(
        [sys.executable, "-m", "gpu_fallback"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def submit(service: JobService, number: int) -> Job:
    return chaos.submit(service, chaos.Chaos(), number, np.ones((1, 4), dtype=np.float32))


def await_status(service: JobService, job: Job, status: JobStatus) -> None:
    deadline = monotonic() + WITHIN_S
    while service.table.get(job.id).status is not status:
        assert monotonic() < deadline, service.table.get(job.id)
        sleep(0.05)


def test_a_worker_runs_jobs_on_the_cpu_where_that_is_allowed_and_leaves_quietly(
    cloud: Cloud, folder: Path
) -> None:
    service = chaos.connect(cloud.url)
    process = start(cloud, folder, ONNXLIFT_ALLOW_CPU="true")
    try:
        await_status(service, submit(service, 1), JobStatus.SUCCEEDED)

        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        written, complained = process.communicate(timeout=WITHIN_S)
    finally:
        process.kill()

    assert (process.returncode, complained) == (0, "")
    assert "worker stopped" in written
    assert "compute_infer_us" in written


def test_a_worker_without_a_gpu_says_so_in_one_line_and_touches_no_job(
    cloud: Cloud, folder: Path
) -> None:
    service = chaos.connect(cloud.url)
    job = submit(service, 1)

    process = start(cloud, folder, ONNXLIFT_ALLOW_CPU="false", CUDA_VISIBLE_DEVICES="")
    written, complained = process.communicate(timeout=WITHIN_S)

    assert (process.returncode, complained) == (1, "")
    (line,) = written.splitlines()
    assert "worker not started" in line
    assert "no GPU" in line
    found = service.table.get(job.id)
    assert (found.status, found.attempt) == (JobStatus.QUEUED, 0)


def test_a_worker_that_is_stopped_while_it_starts_leaves_at_once(
    cloud: Cloud, folder: Path
) -> None:
    process = start(cloud, folder, ONNXLIFT_ALLOW_CPU="true")
    sleep(0.5)

    process.send_signal(signal.SIGTERM)
    _, complained = process.communicate(timeout=WITHIN_S)

    assert "Traceback" not in complained
    assert process.returncode in {0, -signal.SIGTERM}, (
        "before Python listens, the signal itself ends it"
    )
