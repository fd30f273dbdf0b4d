"""Jobs while their workers are killed and stopped, messages come twice, calls fail and clocks
jump.
"""

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.gpu_worker.faults import Rates, Seen, faulty
from benchmarks.gpu_worker.fleet import Ends, Fleet
from benchmarks.gpu_worker.payload import encode_payload
from onnxlift.client import decode_answer
from onnxlift.local.account import ACCOUNT, REGION, queue_arn
from onnxlift.local.moto.cloud import Cloud, open_cloud
from onnxlift.local.moto.resources import client
from onnxlift_runtime.aws.items import decode_item
from onnxlift_runtime.aws.objects import ObjectStore
from onnxlift_runtime.aws.queues import Queues
from onnxlift_runtime.aws.table import JobTable
from onnxlift_runtime.jobs.job import Job, JobStatus, Payload
from onnxlift_runtime.jobservice.service import JobService, Submission
from onnxlift_runtime.names import GPU, bucket_name, dead_letter_name, queue_name, table_name
from onnxlift_runtime.settings import Settings, WorkerSettings
from onnxlift_runtime.tensors.arrays import Array
from tests.support import builders

SERVICE: Final = "chaos"
MODEL: Final = "linear"
BUCKET: Final = bucket_name(SERVICE, ACCOUNT, REGION)
CONFIG: Final = f"""
service = "{SERVICE}"

[models.{MODEL}]
source = "{MODEL}.onnx"
[models.{MODEL}.quality]
samples = "heldout.npz"
"""
MAX_RECEIVES: Final = 20
# Rows that make a payload or a result too large for the table, so that it goes through the bucket.
LARGE_ROWS: Final = 6_000


@dataclass(frozen=True, slots=True)
class Chaos:
    """How much of it: every ``large_every``-th job goes through the bucket, every
    ``twice_every``-th has two messages.

    ``every_s`` is between two ends of a process, ``visibility_s`` how long a dead one's messages
    stay hidden.
    """

    jobs: int = 1_000
    workers: int = 3
    every_s: float = 4.0
    rates: Rates = field(default_factory=Rates)
    jump_s: float = 10.0
    run_s: float = 0.1
    visibility_s: int = 8
    stop_within_s: int = 10
    large_every: int = 20
    twice_every: int = 7
    give_up_s: float = 280.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """Figures by name, and one line for each thing that should not be."""

    figures: Mapping[str, str]
    problems: Sequence[str]


def run(chaos: Chaos) -> Found:
    """Run all of it, and look what became of the jobs."""
    with tempfile.TemporaryDirectory(prefix="onnxlift-") as name:
        folder = Path(name)
        builders.write_artifact(
            folder / "artifacts", builders.linear(), name=MODEL, max_batch_size=2 * LARGE_ROWS
        )
        config_path = folder / "onnxlift.toml"
        config_path.write_text(CONFIG)
        with open_cloud(config_path) as cloud:
            return _run(chaos, cloud, folder)


def _run(chaos: Chaos, cloud: Cloud, folder: Path) -> Found:
    service = connect(cloud.url)
    create_queue(cloud.url)
    inputs = _inputs(chaos)
    began_s = time.perf_counter()
    with faulty(cloud.url, chaos.rates, chaos.seed) as (url, seen):
        environ = environment(chaos, Cloud(url), folder)
        with Fleet(
            chaos.workers,
            environ,
            chaos.every_s,
            chaos.stop_within_s,
            folder / "worker",
            chaos.seed,
        ) as fleet:
            made = [submit(service, chaos, number, rows) for number, rows in enumerate(inputs)]
            _await_ends(chaos, cloud.url, len(made))
    took_s = time.perf_counter() - began_s
    ended = {job.id: job for job in _read(cloud.url)}
    problems = [
        *fleet.ends.problems,
        *_problems(service, [ended[job.id] for job in made], inputs, folder, seen),
    ]
    return Found(_figures(chaos, took_s, list(ended.values()), fleet.ends, seen), problems)


def _figures(
    chaos: Chaos, took_s: float, ended: Sequence[Job], ends: Ends, seen: Seen
) -> dict[str, str]:
    attempts = Counter(job.attempt for job in ended)
    used = Counter(3 - job.attempts_left for job in ended)
    statuses = Counter(job.status for job in ended)
    return {
        "jobs": f"{len(ended):,}, {chaos.jobs // chaos.twice_every:,} of them with two messages",
        "ended": ", ".join(f"{status} {count:,}" for status, count in statuses.items()),
        "took": f"{took_s:.0f} s with {chaos.workers} workers",
        "workers killed": f"{ends.killed}",
        "workers stopped": (
            f"{len(ends.drains_s)}, the slowest in {max(ends.drains_s):.1f} s "
            f"of {chaos.stop_within_s} s"
        ),
        "calls": f"{seen.calls:,}, of them "
        + ", ".join(f"{count:,} {name}" for name, count in seen.faults.items()),
        "clocks": f"off by up to {chaos.jump_s:.0f} s, another way every 3 s",
        "times claimed": _counted(attempts),
        "attempts used": _counted(used),
        "stored as SUCCEEDED more than once": str(
            sum(count > 1 for count in seen.published.values())
        ),
    }


def _counted(jobs: Mapping[int, int]) -> str:
    return ", ".join(f"{count:,} jobs {number}" for number, count in sorted(jobs.items()))


def connect(url: str) -> JobService:
    """The job service at an endpoint, past all faults."""
    table = JobTable(client("dynamodb", url), table_name(SERVICE))
    return JobService(
        table, ObjectStore(client("s3", url), BUCKET), Queues(client("sqs", url), SERVICE)
    )


def create_queue(url: str) -> None:
    """The workers' queue as it is deployed: what was received too often goes to the dead
    letters.
    """
    sqs, name = client("sqs", url), queue_name(SERVICE, MODEL, GPU)
    sqs.create_queue(QueueName=dead_letter_name(name))
    redrive = {
        "deadLetterTargetArn": queue_arn(dead_letter_name(name)),
        "maxReceiveCount": MAX_RECEIVES,
    }
    sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": json.dumps(redrive)})


def environment(chaos: Chaos, proxy: Cloud, folder: Path) -> dict[str, str]:
    """What a worker's process is told; the models are below ``folder``."""
    settings = Settings(
        service=SERVICE,
        models_dir=folder / "artifacts",
        threads=1,
        jobs_table=table_name(SERVICE),
        data_bucket=BUCKET,
        log_level="WARNING",
    )
    told = WorkerSettings(
        serve=MODEL,
        max_batch_size=8,
        stop_within_s=chaos.stop_within_s,
        timeout_s=60,
        health_file=folder / "healthy",
    )
    own = {
        "CHAOS_JUMP_S": str(chaos.jump_s),
        "CHAOS_RUN_S": str(chaos.run_s),
        "CHAOS_VISIBILITY_S": str(chaos.visibility_s),
    }
    return {**proxy.environment(os.environ), **settings.to_env(), **told.to_env(), **own}


def _inputs(chaos: Chaos) -> list[Array]:
    """For each job FP32 [rows, 4], different in each."""
    dice = np.random.default_rng(chaos.seed)
    sizes = [LARGE_ROWS if number % chaos.large_every == 0 else 1 for number in range(chaos.jobs)]
    return [dice.normal(size=(rows, 4)).astype(np.float32) for rows in sizes]


def submit(service: JobService, chaos: Chaos, number: int, rows: Array) -> Job:
    """Queue a job for ``rows``, FP32 [n, 4]; some are announced twice."""
    job = service.submit(
        Submission(f"caller {number % 5}", MODEL, "1", encode_payload("x", rows), tier=GPU)
    )
    if number % chaos.twice_every == 0:
        service.queues.send(job)
    return job


def _await_ends(chaos: Chaos, url: str, count: int) -> None:
    deadline = time.monotonic() + chaos.give_up_s
    while sum(job.final for job in _read(url)) < count and time.monotonic() < deadline:
        time.sleep(1)


def _read(url: str) -> list[Job]:
    pages = (
        client("dynamodb", url)
        .get_paginator("scan")
        .paginate(TableName=table_name(SERVICE), ConsistentRead=True)
    )
    return [decode_item(item) for page in pages for item in page["Items"] if "revision" in item]


def _problems(
    service: JobService, ended: list[Job], inputs: list[Array], folder: Path, seen: Seen
) -> list[str]:
    import onnxruntime

    path = next((folder / "artifacts").rglob("model.onnx"))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    told = []
    for job, rows in zip(ended, inputs, strict=True):
        if job.status is not JobStatus.SUCCEEDED or job.result is None:
            told.append(f"job {job.id} is {job.status} after {job.attempt} attempts: {job.error}")
            continue
        if seen.published[job.id] != 1:
            told.append(f"job {job.id} was stored as SUCCEEDED {seen.published[job.id]} times")
        if not np.allclose(
            _output(service, job.result), session.run(None, {"x": rows})[0], rtol=1e-5, atol=1e-6
        ):
            told.append(f"job {job.id} has a wrong result")
    return told


def _output(service: JobService, result: Payload) -> Array:
    return decode_answer(service.store.fetch(result, 1 << 24), result.headers).outputs["y"]
