"""What the worker does as a whole: batches, failures, hanging inferences, and stops at any
moment.
"""

import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from botocore.exceptions import ClientError

from gpu_fallback.worker import open_worker, served
from onnxlift_runtime.errors import (
    ArtifactCorrupt,
    ConfigInvalid,
    InferenceFailed,
    ModelUnavailable,
)
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs.job import MAX_ATTEMPTS, JobStatus, Payload
from onnxlift_runtime.jobservice.service import Submission
from onnxlift_runtime.names import LAMBDA
from onnxlift_runtime.settings import WorkerSettings
from onnxlift_runtime.tensors.arrays import Array
from tests.support.errors import raises
from tests.unit.gpu_fallback.conftest import (
    CALLER,
    MODEL,
    Doubler,
    Make,
    eventually,
    raising,
    values,
)


def test_jobs_are_run_together_and_each_gets_its_own_rows(make: Make) -> None:
    runner = Doubler()
    bench = make(runner, max_wait_ms=200)
    made = [bench.submit(number, rows=1 + number % 3) for number in range(12)]

    bench.start()

    ended = bench.await_status(JobStatus.SUCCEEDED, *made)
    assert [values(job) for job in ended] == [
        [2.0 * number] * (1 + number % 3) for number in range(12)
    ]
    assert max(runner.sizes) <= 8
    assert len(runner.sizes) < len(made)
    assert sorted(job.id for job in bench.notifier.jobs) == sorted(job.id for job in made)
    assert eventually(lambda: bench.memory.queues.left() == 0)


def test_one_bad_job_of_a_batch_fails_alone(make: Make) -> None:
    def refuse_three(feeds: Mapping[str, Array]) -> None:
        if 3.0 in feeds["x"]:
            raise InferenceFailed("three is too much")

    bench = make(Doubler(refuse_three), max_wait_ms=200)
    made = [bench.submit(number) for number in range(6)]

    bench.start()

    (failed,) = bench.await_status(JobStatus.FAILED, made[3])
    assert failed.error == "three is too much"
    bench.await_status(JobStatus.SUCCEEDED, *made[:3], *made[4:])


def test_what_can_never_run_fails_with_the_reason(make: Make) -> None:
    bench = make(
        Doubler(raising(ArtifactCorrupt("model.onnx is not the file that was compressed")))
    )
    made = [bench.submit(1), bench.submit(2, version="9")]

    bench.start()

    failed = bench.await_status(JobStatus.FAILED, *made)
    assert "not the file" in failed[0].error
    assert "no version '9'" in failed[1].error


def test_a_model_that_cannot_run_here_costs_no_attempt(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = Doubler(raising(ModelUnavailable("no CUDA device", retry_after_s=60)))
    bench = make(runner)
    made = [bench.submit(number) for number in range(4)]

    bench.start()

    assert eventually(lambda: all(bench.job(job).error == "no CUDA device" for job in made))
    assert {(bench.job(job).status, bench.job(job).attempts_left) for job in made} == {
        (JobStatus.QUEUED, MAX_ATTEMPTS)
    }
    assert bench.memory.queues.left() == 4
    assert bench.stop() == 0
    assert capsys.readouterr().out.count("queue left alone") == 1


def test_a_store_that_fails_now_and_then_loses_nothing(make: Make) -> None:
    bench = make(visibility_s=2)
    made = [bench.submit(number) for number in range(30)]

    with bench.memory.failing(0.05):
        bench.start()
        assert eventually(
            lambda: sum(bench_job.final for bench_job in bench.memory.table.jobs()) > 20
        )

    for number, job in enumerate(bench.await_status(JobStatus.SUCCEEDED, *made)):
        assert values(job) == [2.0 * number]


def test_what_cannot_be_opened_fails_with_the_reason(make: Make) -> None:
    bench = make(Doubler(prepare=partial(raising(ArtifactCorrupt("model.onnx is damaged")), {})))
    job = bench.submit(1)

    bench.start()

    (failed,) = bench.await_status(JobStatus.FAILED, job)
    assert failed.error == "model.onnx is damaged"


def test_a_job_whose_attempt_came_to_nothing_before_runs_alone(make: Make) -> None:
    runner = Doubler()
    bench = make(runner, max_wait_ms=300)
    tried = bench.submit(1)
    table = bench.memory.service.table
    held = table.change(tried.id, lambda job: lifecycle.claim(job, "other", 0, 1))
    table.change(tried.id, lambda job: lifecycle.release(job, held, "store away", 0))
    made = [bench.submit(number) for number in range(3)]

    bench.start()

    bench.await_status(JobStatus.SUCCEEDED, tried, *made)
    assert sorted(runner.sizes) == [1, 3]


def test_what_takes_long_is_kept_hidden_and_its_lease_alive(make: Make) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait(_feeds: Mapping[str, Array]) -> None:
        began.set()
        go_on.wait(60)

    runner = Doubler(wait)
    bench = make(runner, visibility_s=2)
    job = bench.submit(1)
    bench.start()
    began.wait(60)
    first_until_ms = bench.job(job).lease_until_ms

    assert eventually(lambda: bench.memory.queues.extended > 3)
    renewed = bench.job(job)
    go_on.set()

    assert renewed.lease_until_ms > first_until_ms
    bench.await_status(JobStatus.SUCCEEDED, job)
    assert (bench.job(job).attempt, runner.sizes) == (1, [1])


def test_a_canceled_jobs_answer_is_dropped(make: Make) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait(_feeds: Mapping[str, Array]) -> None:
        began.set()
        go_on.wait(60)

    bench = make(Doubler(wait))
    job = bench.submit(1)
    bench.start()
    began.wait(60)
    bench.memory.service.cancel(job.id, "me")
    go_on.set()

    assert bench.stop() == 0
    assert bench.job(job).status is JobStatus.CANCELED
    assert bench.job(job).result is None


def test_what_nobody_thought_of_costs_an_attempt_and_not_the_worker(make: Make) -> None:
    def break_three(feeds: Mapping[str, Array]) -> None:
        if 3.0 in feeds["x"]:
            raise MemoryError

    bench = make(Doubler(break_three), max_wait_ms=0)
    bad = bench.submit(3)

    bench.start()

    assert eventually(lambda: "MemoryError" in bench.job(bad).error)
    assert bench.job(bad).attempts_left == MAX_ATTEMPTS - 1
    bench.await_status(JobStatus.SUCCEEDED, bench.submit(4))


def test_a_message_whose_job_cannot_even_be_claimed_comes_again_later(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make()
    bench.submit(1)
    (message,) = bench.memory.queues.queues["test-tiny-gpu-jobs"]

    def refuse(**_call: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetItem")

    monkeypatch.setattr(bench.memory.table, "get_item", refuse)
    began_s = monotonic()

    bench.start()

    assert eventually(
        lambda: message.receives == 1 and began_s + 1 < message.visible_at_s < began_s + 30
    )


def test_a_message_whose_job_is_on_another_tier_by_now_is_done_with(make: Make) -> None:
    bench = make()
    asked = Submission(CALLER, MODEL, "1", Payload.of(b"{}", {}), tier=LAMBDA)
    job = bench.memory.service.submit(asked)
    bench.memory.queues.queues["test-tiny-gpu-jobs"] = bench.memory.queues.queues.pop(
        "test-tiny-lambda-jobs"
    )

    bench.start()

    assert eventually(lambda: bench.memory.queues.left() == 0)
    assert (bench.job(job).status, bench.job(job).attempt) == (JobStatus.QUEUED, 0)


def test_health_is_told_while_it_works(make: Make, tmp_path: Path) -> None:
    bench = make()

    bench.start()

    assert eventually((tmp_path / "healthy").exists)


def test_a_worker_of_no_model_or_an_unknown_one_says_so() -> None:
    with raises(ConfigInvalid, "ONNXLIFT_SERVE", "empty"):
        served(WorkerSettings())
    with raises(ConfigInvalid, "ONNXLIFT_SERVE", "'huge'"):
        open_worker({"ONNXLIFT_SERVE": "huge"}, Doubler())


def test_nothing_that_was_submitted_is_answered_twice(make: Make) -> None:
    bench = make(max_wait_ms=5)
    made = [bench.submit(number) for number in range(50)]
    for job in made[::3]:
        bench.memory.service.queues.send(job)

    bench.start()

    ended = bench.await_status(JobStatus.SUCCEEDED, *made)
    assert [job.attempt for job in ended] == [1] * 50
    assert np.allclose([values(job)[0] for job in ended], 2 * np.arange(50))
