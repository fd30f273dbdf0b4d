"""Jobs that end their worker's process, among others that do not: a real worker, and whoever starts
it again.
"""

import contextlib
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from benchmarks.gpu_worker import chaos
from onnxlift.local.moto.cloud import Cloud, open_cloud
from onnxlift_runtime.jobs.job import MAX_ATTEMPTS, Job, JobStatus
from onnxlift_runtime.jobservice.service import JobService
from tests.integration.poisoned import POISON
from tests.support import builders

WITHIN_S = 180
INNOCENT = 30
SETTING = chaos.Chaos(jump_s=0, run_s=0.1, visibility_s=4, twice_every=1_000)


@dataclass
class Keeper:
    """Starts a worker's process again whenever it has ended, as ECS does; ``endings`` are the
    statuses so far.
    """

    environ: Mapping[str, str]
    endings: list[int] = field(default_factory=list)
    process: "subprocess.Popen[str] | None" = None

    def kill(self) -> None:
        """End the process that runs now, as the loss of its machine would."""
        assert self.process is not None
        self.process.kill()

    @contextlib.contextmanager
    def kept(self) -> Iterator["Keeper"]:
        """Run while the block lasts."""
        done = threading.Event()
        thread = threading.Thread(target=self._keep, args=(done,))
        thread.start()
        try:
            yield self
        finally:
            done.set()
            thread.join()

    def _keep(self, done: threading.Event) -> None:
        while not done.is_set():
            command = [sys.executable, "-m", "tests.integration.poisoned"]
            with subprocess.Popen(
                command, env=self.environ, stdout=subprocess.DEVNULL, text=True
            ) as self.process:
                while self.process.poll() is None and not done.wait(0.05):
                    pass
                if self.process.poll() is None:
                    self.process.send_signal(signal.SIGTERM)
            self.endings.append(self.process.returncode)


@dataclass(frozen=True)
class Scene:
    """Where jobs are submitted, and what a worker of them is told."""

    service: JobService
    environ: Mapping[str, str]

    def keeper(self, poison_at: str, **changes: str) -> Keeper:
        return Keeper({**self.environ, "POISON_AT": poison_at} | changes)

    def submit(self, number: int, value: float) -> Job:
        return chaos.submit(
            self.service, SETTING, number + 1, np.full((1, 4), value, dtype=np.float32)
        )

    def ended(self, *made: Job) -> list[Job]:
        """Wait until all of these have ended, and return them."""
        deadline = monotonic() + WITHIN_S
        while not all((found := self.service.table.get(job.id)).final for job in made):
            assert monotonic() < deadline, found
            sleep(0.2)
        return [self.service.table.get(job.id) for job in made]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    builders.write_artifact(
        tmp_path / "artifacts", builders.linear(), name=chaos.MODEL, max_batch_size=64
    )
    (tmp_path / "onnxlift.toml").write_text(chaos.CONFIG)
    with open_cloud(tmp_path / "onnxlift.toml") as cloud:
        chaos.create_queue(cloud.url)
        yield Scene(
            chaos.connect(cloud.url), chaos.environment(SETTING, Cloud(cloud.url), tmp_path)
        )


@pytest.mark.parametrize("poison_at", ["run", "fetch"])
def test_a_job_that_ends_its_process_fails_and_costs_any_other_one_attempt_at_most(
    scene: Scene, poison_at: str
) -> None:
    innocent = [scene.submit(number, number) for number in range(INNOCENT)]
    poison = scene.submit(INNOCENT, float(POISON))
    innocent += [scene.submit(INNOCENT + number, number) for number in range(1, 5)]

    with scene.keeper(poison_at).kept() as keeper:
        failed, *others = scene.ended(poison, *innocent)

    assert (failed.status, failed.attempt) == (JobStatus.FAILED, MAX_ATTEMPTS)
    assert (
        failed.error
        == "the worker died before it had an answer, 3 times, all but the first with no other job "
        "in hand"
    )
    assert Counter(job.status for job in others) == {JobStatus.SUCCEEDED: len(innocent)}
    assert {job.attempt for job in others} == {1, 2}
    assert keeper.endings == [-signal.SIGABRT] * MAX_ATTEMPTS + [0]


def test_jobs_that_only_lost_their_worker_all_succeed(scene: Scene) -> None:
    made = [scene.submit(number, number) for number in range(INNOCENT)]

    # An inference takes long enough that a busy machine sees the claim before the end.
    with scene.keeper("", CHAOS_RUN_S="2").kept() as keeper:
        deadline = monotonic() + WITHIN_S
        while not any(scene.service.table.get(job.id).attempt for job in made):
            assert monotonic() < deadline
            sleep(0.05)
        keeper.kill()
        ended = scene.ended(*made)

    assert Counter(job.status for job in ended) == {JobStatus.SUCCEEDED: INNOCENT}
    assert {job.attempt for job in ended} == {1, 2}
    assert keeper.endings == [-signal.SIGKILL, 0]
