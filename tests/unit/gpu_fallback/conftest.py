"""A worker in this process, on queues, a table and a bucket in memory."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest

from gpu_fallback.worker import GpuWorker
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.dataplane.batching import Runner
from onnxlift_runtime.errors import OnnxliftError
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs.job import Job, JobStatus, Payload
from onnxlift_runtime.jobservice.service import Submission
from onnxlift_runtime.jobservice.worker import Worker
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.settings import Limits, WorkerSettings
from onnxlift_runtime.tensors.arrays import Array
from tests.support.builders import manifest, spec
from tests.support.memory import SERVICE, Memory

MODEL, CALLER, WITHIN_S = "tiny", "me", 120.0
Act = Callable[[Mapping[str, Array]], None]


@dataclass
class Doubler:
    """A runner without onnxruntime: ``y = 2 x`` for ``x`` FP32 [-1, 2], after ``act`` did what the
    test wants.

    ``prepare`` is what it does to have the model ready, ``sizes`` are the rows of each run.
    """

    act: Act = lambda feeds: None
    prepare: Callable[[], None] = lambda: None
    sizes: list[int] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)
    manifests: Sequence[Manifest] = (
        manifest((spec("x", "FP32", (-1, 2)),), (spec("y", "FP32", (-1, 2)),), max_batch_size=16),
    )

    @property
    def catalog(self) -> Catalog:
        return Catalog.of(self.manifests)

    def prefetch(self, manifest: Manifest) -> None:
        self.prepare()

    def run(
        self, manifest: Manifest, feeds: Mapping[str, Array], outputs: Sequence[str]
    ) -> dict[str, Array]:
        self.sizes.append(len(feeds["x"]))
        self.act(feeds)
        return {"y": feeds["x"] * 2}


@dataclass
class Told:
    """A notifier that remembers."""

    jobs: list[Job] = field(default_factory=list)

    def tell(self, job: Job) -> None:
        self.jobs.append(job)


@dataclass
class Bench:
    """A worker, where its jobs are, and the thread it runs in."""

    memory: Memory
    worker: GpuWorker
    notifier: Told
    status: list[int] = field(default_factory=list)
    thread: threading.Thread | None = None

    def start(self) -> None:
        self.thread = threading.Thread(
            target=lambda: self.status.append(self.worker.run()), daemon=True
        )
        self.thread.start()

    def stop(self) -> int:
        """Ask it to stop, and its exit status."""
        self.worker.stop()
        return self.ended()

    def ended(self) -> int:
        assert self.thread is not None
        self.memory.queues.hurried = True
        self.thread.join(WITHIN_S)
        assert self.status, "the worker did not end"
        return self.status[0]

    def submit(self, number: float, rows: int = 1, version: str = "1", model: str = MODEL) -> Job:
        """Queue a job whose rows all are ``number``."""
        x = {
            "name": "x",
            "datatype": "FP32",
            "shape": [rows, 2],
            "data": np.full((rows, 2), number).tolist(),
        }
        payload = Payload.of(json.dumps({"inputs": [x]}).encode(), {})
        return self.memory.service.submit(Submission(CALLER, model, version, payload, tier="gpu"))

    def submit_suspect(self, number: float, model: str = MODEL) -> Job:
        """Queue a job that a worker has died with."""
        job = self.submit(number, model=model)
        return self.memory.service.table.change(
            job.id, lambda found: lifecycle.claim(found, "dead", 0, 1)
        )

    def job(self, job: Job) -> Job:
        return self.memory.service.table.get(job.id)

    def await_status(self, status: JobStatus, *made: Job) -> list[Job]:
        """Wait until all of these have a status, and return them."""
        assert eventually(lambda: all(self.job(job).status is status for job in made))
        return [self.job(job) for job in made]


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it comes to that within a time that is long enough for a busy machine."""
    deadline = monotonic() + WITHIN_S
    while not (came := holds()) and monotonic() < deadline:
        sleep(0.01)
    return came


def values(job: Job) -> list[float]:
    """The first number of each row of a job's result."""
    assert job.result is not None
    assert job.result.body is not None
    data: list[float] = json.loads(job.result.body)["outputs"][0]["data"]
    return data[::2]


Make = Callable[..., Bench]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make a bench: with a runner, and any of ``WorkerSettings``' fields by keyword."""
    made: list[Bench] = []

    def make_one(runner: Runner | None = None, visibility_s: int = 60, **told: Any) -> Bench:
        memory, notifier = Memory(), Told()
        settings = replace(
            WorkerSettings(health_file=tmp_path / "healthy"),
            **{"max_batch_size": 8, "max_wait_ms": 20, "stop_within_s": 4, "timeout_s": 60, **told},
        )
        core = Worker(memory.service, runner or Doubler(), notifier, "worker-1", 10**6)
        worker = GpuWorker(core, settings, tuple(core.engine.catalog.models), SERVICE, visibility_s)
        made.append(Bench(memory, worker, notifier))
        return made[-1]

    yield make_one
    for bench in made:
        if bench.thread is not None:
            bench.stop()


def raising(error: OnnxliftError) -> Act:
    """What fails every run."""

    def act(_feeds: Mapping[str, Array]) -> None:
        raise error

    return act
