"""What a worker does with its messages: one result per job, whatever is delivered twice or dies
half-way.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxlift_runtime.aws.table import JobTable
from onnxlift_runtime.dataplane.engine import Engine
from onnxlift_runtime.errors import ModelUnavailable
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs.job import MAX_ATTEMPTS, Job, JobStatus, Payload
from onnxlift_runtime.jobservice.service import JobService, Submission
from onnxlift_runtime.jobservice.worker import Outcome, Suspect, Worker
from onnxlift_runtime.settings import Settings
from tests.support.builders import identity, spec, write_artifact
from tests.support.runtime.job_service import CALLER, MODEL

LEASE_MS = 60_000


@dataclass
class Told:
    """A notifier that remembers."""

    jobs: list[Job] = field(default_factory=list)

    def tell(self, job: Job) -> None:
        self.jobs.append(job)


@pytest.fixture
def worker(service: JobService, tmp_path: Path) -> Worker:
    shape = (-1, 2)
    write_artifact(
        tmp_path,
        identity("FP32", shape),
        inputs=(spec("x", "FP32", shape),),
        outputs=(spec("y", "FP32", shape),),
    )
    engine = Engine.open(Settings(models_dir=tmp_path, threads=1))
    return Worker(service, engine, Told(), "worker-1", 10**6)


def submit(worker: Worker, rows: int = 1, number: float = 0.0, body: bytes | None = None) -> Job:
    data = np.full((rows, 2), number).tolist()
    call = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [rows, 2], "data": data}]}
    payload = Payload.of(json.dumps(call).encode() if body is None else body, {})
    return worker.service.submit(Submission(CALLER, MODEL, "1", payload))


def result(worker: Worker, job: Job) -> list[float]:
    published = worker.service.get(job.id, CALLER).result
    assert published is not None
    document = json.loads(worker.service.store.fetch(published, 10**6))
    data: list[float] = document["outputs"][0]["data"]
    return data


def statuses(worker: Worker, *some: Job) -> list[JobStatus]:
    return [worker.service.get(job.id, CALLER).status for job in some]


def test_jobs_of_one_event_get_their_own_results(worker: Worker) -> None:
    made = [submit(worker, rows=index + 1, number=index) for index in range(4)]

    again = worker.work([job.id for job in made], LEASE_MS)

    assert again == frozenset()
    assert [result(worker, job) for job in made] == [
        [index] * 2 * (index + 1) for index in range(4)
    ]
    assert worker.notifier.jobs == [worker.service.get(job.id, CALLER) for job in made]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "body",
    [b"", b"[", b"{}", b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1]}]}'],
)
def test_a_poison_job_fails_alone_with_its_reason(worker: Worker, body: bytes) -> None:
    good, bad = submit(worker, number=7), submit(worker, body=body)

    again = worker.work([bad.id, good.id], LEASE_MS)

    assert again == frozenset()
    assert statuses(worker, good, bad) == [JobStatus.SUCCEEDED, JobStatus.FAILED]
    assert worker.service.get(bad.id, CALLER).error


def test_a_message_delivered_twice_gives_one_attempt(worker: Worker) -> None:
    job = submit(worker)

    worker.work([job.id, job.id], LEASE_MS)
    worker.work([job.id], LEASE_MS)

    assert worker.service.get(job.id, CALLER).attempt == 1


def test_a_job_held_by_another_comes_again(worker: Worker) -> None:
    job = submit(worker)
    worker.service.table.change(job.id, lambda found: lifecycle.claim(found, "other", 1, 10**12))

    assert worker.work([job.id], LEASE_MS) == {job.id}
    assert statuses(worker, job) == [JobStatus.RUNNING]


def test_a_job_whose_worker_died_is_done_by_the_next(worker: Worker) -> None:
    job = submit(worker, number=3)
    worker.service.table.change(job.id, lambda found: lifecycle.claim(found, "dead", 1, 1))

    assert worker.work([job.id], LEASE_MS) == frozenset()
    assert result(worker, job) == [3, 3]
    assert worker.service.get(job.id, CALLER).attempt == 2


def test_a_job_whose_workers_all_died_has_failed(worker: Worker) -> None:
    job = submit(worker)
    for _ in range(MAX_ATTEMPTS):
        worker.service.table.change(
            job.id, lambda found: lifecycle.claim(found, "dead", 1_000_001, 0)
        )

    assert worker.work([job.id], LEASE_MS) == frozenset()
    assert statuses(worker, job) == [JobStatus.FAILED]
    assert worker.service.get(job.id, CALLER).error.startswith(
        "the worker died before it had an answer, 3 times"
    )


def die_with(worker: Worker, job: Job, deaths: int = 1) -> None:
    """Have so many workers claim a job and die."""
    for _ in range(deaths):
        worker.service.table.change(job.id, lambda found: lifecycle.claim(found, "dead", 1, 0))


def test_suspects_are_claimed_one_by_one_after_the_others_have_ended(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, run = [submit(worker, number=number) for number in range(5)], Engine.run
    die_with(worker, made[0], deaths=2)
    die_with(worker, made[2])
    seen: list[list[int]] = []

    def run_and_look(*args: object) -> object:
        held = [worker.service.get(job.id, CALLER) for job in made]
        seen.append(
            [
                number
                for number, job in enumerate(held)
                if job.lease_until_ms > worker.service.clock()
            ]
        )
        return run(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "run", run_and_look)
    waiting: list[list[str]] = []

    worker.work([job.id for job in made], LEASE_MS, lambda job_ids: waiting.append(list(job_ids)))

    assert seen == [[1, 3, 4], [2], [0]]
    assert waiting == [[made[2].id, made[0].id]]
    assert statuses(worker, *made) == [JobStatus.SUCCEEDED] * 5


def test_a_suspect_that_nothing_goes_before_does_not_wait(worker: Worker) -> None:
    made = [submit(worker, number=number) for number in range(2)]
    for job in made:
        die_with(worker, job)
    waiting: list[list[str]] = []

    worker.work([job.id for job in made], LEASE_MS, lambda job_ids: waiting.append(list(job_ids)))

    assert waiting == [[made[1].id]]


def test_a_last_attempt_is_made_alone_whatever_became_of_the_others(worker: Worker) -> None:
    job = submit(worker)
    for _ in range(MAX_ATTEMPTS - 1):
        held = worker.service.table.change(
            job.id, lambda found: lifecycle.claim(found, "other", 1, LEASE_MS)
        )
        worker.release(held, "store away")

    assert worker.claim(job.id, LEASE_MS, alone=False) == Suspect(deaths=0)
    assert worker.service.get(job.id, CALLER).status is JobStatus.QUEUED
    assert isinstance(worker.claim(job.id, LEASE_MS, alone=True), Job)


def test_a_claim_whose_answer_got_lost_is_held_all_the_same(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, put = submit(worker), JobTable._put

    def put_and_lose_the_answer(table: JobTable, changed: Job, *rest: Any) -> bool:
        put(table, changed, *rest)
        return False  # boto3 tries again, and finds its own first write in the way

    monkeypatch.setattr(JobTable, "_put", put_and_lose_the_answer)

    held = worker.claim(job.id, LEASE_MS, alone=False)

    assert isinstance(held, Job)
    assert (held.attempt, held.attempts_left) == (1, MAX_ATTEMPTS - 1)
    assert worker.claim(job.id, LEASE_MS, alone=False) is Outcome.AGAIN, (
        "another message of the same job"
    )


def test_a_canceled_job_is_not_run_and_its_message_is_done_with(worker: Worker) -> None:
    job = submit(worker)
    worker.service.cancel(job.id, CALLER)

    assert worker.work([job.id, "no-such-job"], LEASE_MS) == frozenset()
    assert worker.service.get(job.id, CALLER).attempt == 0


def test_an_expired_job_is_told_as_expired(worker: Worker) -> None:
    job = worker.service.submit(Submission(CALLER, MODEL, "1", Payload.of(b"{}", {}), ttl_ms=1))

    assert worker.work([job.id], LEASE_MS) == frozenset()
    assert statuses(worker, job) == [JobStatus.EXPIRED]


def test_a_passing_failure_is_tried_again_until_the_attempts_are_used(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_args: object) -> None:
        raise ModelUnavailable("loading")

    job = submit(worker)
    monkeypatch.setattr(Engine, "run", unavailable)

    told = [worker.work([job.id], LEASE_MS) for _ in range(MAX_ATTEMPTS)]

    assert told == [{job.id}] * (MAX_ATTEMPTS - 1) + [frozenset()]
    assert statuses(worker, job) == [JobStatus.FAILED]


@pytest.mark.parametrize("step", ["decode", "answer"])
def test_what_nobody_thought_of_costs_its_job_an_attempt_and_no_other(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    good, bad = submit(worker, number=7), submit(worker)
    done = getattr(Worker, step)

    def broken(self: Worker, job: Job, *rest: Any) -> Any:
        if job.id == bad.id:
            raise MemoryError("too much")
        return done(self, job, *rest)

    monkeypatch.setattr(Worker, step, broken)

    assert worker.work([bad.id, good.id], LEASE_MS) == {bad.id}
    found = worker.service.get(bad.id, CALLER)
    assert statuses(worker, good, bad) == [JobStatus.SUCCEEDED, JobStatus.QUEUED]
    assert (found.attempts_left, found.deaths) == (MAX_ATTEMPTS - 1, 0)
    assert found.error == "the worker failed: MemoryError('too much')"


def test_an_inference_that_breaks_gives_its_jobs_up_and_goes_on(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> None:
        raise MemoryError("too much")

    made = [submit(worker) for _ in range(2)]
    monkeypatch.setattr(Engine, "run", broken)

    assert worker.work([job.id for job in made], LEASE_MS) == {job.id for job in made}
    assert statuses(worker, *made) == [JobStatus.QUEUED] * 2
    assert {worker.service.get(job.id, CALLER).deaths for job in made} == {0}


@pytest.mark.parametrize(
    "steal",
    [
        lambda found: lifecycle.cancel(found, 5),
        lambda found: lifecycle.claim(found, "b", 10**13, 1),
    ],
)
def test_a_result_of_a_lost_lease_is_dropped(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, steal: Callable[[Job], Job]
) -> None:
    job, run = submit(worker), Engine.run

    def run_while_stolen(*args: object) -> object:
        worker.service.table.change(job.id, steal)
        return run(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "run", run_while_stolen)

    assert worker.work([job.id], LEASE_MS) == frozenset()
    assert worker.service.get(job.id, CALLER).result is None
    assert not worker.notifier.jobs  # type: ignore[attr-defined]


def test_a_missing_model_fails_the_job(worker: Worker) -> None:
    job = worker.service.submit(Submission(CALLER, MODEL, "9", Payload.of(b"{}", {})))

    worker.work([job.id], LEASE_MS)

    assert "has no version '9'" in worker.service.get(job.id, CALLER).error


def test_an_end_whose_answer_got_lost_is_told_all_the_same(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, put = submit(worker), JobTable._put

    def put_and_lose_the_answer(table: JobTable, changed: Job, *rest: Any) -> bool:
        stored = put(table, changed, *rest)
        return (
            stored and not changed.final
        )  # boto3 tries again, and finds its own first write in the way

    monkeypatch.setattr(JobTable, "_put", put_and_lose_the_answer)

    assert worker.work([job.id], LEASE_MS) == frozenset()
    assert statuses(worker, job) == [JobStatus.SUCCEEDED]
    assert [told.status for told in worker.notifier.jobs] == [JobStatus.SUCCEEDED]  # type: ignore[attr-defined]
