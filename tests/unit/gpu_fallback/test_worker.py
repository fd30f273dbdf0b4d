"""What the worker does as a whole: batches, failures, hanging inferences, and stops at any moment."""

import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from botocore.exceptions import ClientError

from gpu_fallback.worker import Timings, open_worker, served
from onnxlift_runtime import jobs
from onnxlift_runtime.aws.service import Submission
from onnxlift_runtime.errors import ArtifactCorrupt, ConfigInvalid, DeviceMissing, InferenceFailed, ModelUnavailable
from onnxlift_runtime.jobs import MAX_ATTEMPTS, JobStatus, Payload
from onnxlift_runtime.layout import LAMBDA
from onnxlift_runtime.settings import WorkerSettings
from onnxlift_runtime.tensors import Array
from tests.unit.gpu_fallback.conftest import CALLER, MODEL, Doubler, Make, eventually, raising, values


def test_jobs_are_run_together_and_each_gets_its_own_rows(make: Make) -> None:
    runner = Doubler()
    bench = make(runner, max_wait_ms=200)
    made = [bench.submit(number, rows=1 + number % 3) for number in range(12)]

    bench.start()

    ended = bench.await_status(JobStatus.SUCCEEDED, *made)
    assert [values(job) for job in ended] == [[2.0 * number] * (1 + number % 3) for number in range(12)]
    assert max(runner.sizes) <= 8
    assert len(runner.sizes) < len(made)
    assert sorted(job.id for job in bench.herald.jobs) == sorted(job.id for job in made)
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
    bench = make(Doubler(raising(ArtifactCorrupt("model.onnx is not the file that was compressed"))))
    made = [bench.submit(1), bench.submit(2, version="9")]

    bench.start()

    failed = bench.await_status(JobStatus.FAILED, *made)
    assert "not the file" in failed[0].error
    assert "no version '9'" in failed[1].error


def test_a_model_that_cannot_run_here_costs_no_attempt(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    runner = Doubler(raising(ModelUnavailable("no CUDA device", retry_after_s=60)))
    bench = make(runner)
    made = [bench.submit(number) for number in range(4)]

    bench.start()

    assert eventually(lambda: all(bench.job(job).error == "no CUDA device" for job in made))
    assert {(bench.job(job).status, bench.job(job).attempts_left) for job in made} == {(JobStatus.QUEUED, MAX_ATTEMPTS)}
    assert bench.memory.queues.left() == 4
    assert bench.stop() == 0
    assert capsys.readouterr().out.count("queue left alone") == 1


def test_a_store_that_fails_now_and_then_loses_nothing(make: Make) -> None:
    bench = make(visibility_s=2)
    made = [bench.submit(number) for number in range(30)]

    with bench.memory.failing(0.05):
        bench.start()
        assert eventually(lambda: sum(bench_job.final for bench_job in bench.memory.table.jobs()) > 20)

    for number, job in enumerate(bench.await_status(JobStatus.SUCCEEDED, *made)):
        assert values(job) == [2.0 * number]


def test_a_stop_finishes_what_computes_and_gives_back_the_rest_at_once(make: Make) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait(_feeds: Mapping[str, Array]) -> None:
        began.set()
        go_on.wait(10)

    bench = make(Doubler(wait), max_batch_size=2, max_wait_ms=0)
    first = bench.submit(1, rows=2)
    bench.start()
    began.wait(10)
    second = [bench.submit(number, rows=2) for number in (2, 3)]
    assert eventually(lambda: all(bench.job(job).status is JobStatus.RUNNING for job in second))

    bench.worker.stop()
    back = bench.await_status(JobStatus.QUEUED, *second)
    go_on.set()

    assert bench.ended() == 0
    assert bench.job(first).status is JobStatus.SUCCEEDED
    assert [job.attempts_left for job in back] == [MAX_ATTEMPTS] * 2
    assert bench.memory.queues.left() == 2
    assert all(message.visible_at_s < 1e9 for message in bench.memory.queues.queues["test-tiny-gpu-jobs"])


def test_what_does_not_finish_within_the_stop_goes_back_with_its_attempt(make: Make) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait(_feeds: Mapping[str, Array]) -> None:
        began.set()
        go_on.wait(10)

    bench = make(Doubler(wait), stop_within_s=2)
    job = bench.submit(1)
    bench.start()
    began.wait(10)

    status = bench.stop()
    go_on.set()

    assert status == 0
    assert (bench.job(job).status, bench.job(job).attempts_left) == (JobStatus.QUEUED, MAX_ATTEMPTS)


def test_a_hanging_inference_ends_the_worker_and_costs_only_its_own_job_an_attempt(make: Make) -> None:
    go_on = threading.Event()

    def hang(_feeds: Mapping[str, Array]) -> None:
        go_on.wait(30)

    bench = make(Doubler(hang), timeout_s=1, max_batch_size=2, max_wait_ms=0)
    hung = bench.submit(1, rows=2)
    bench.start()
    assert eventually(lambda: bench.job(hung).status is JobStatus.RUNNING)
    other = bench.submit(2, rows=2)

    status = bench.ended()
    go_on.set()

    assert status == 1
    assert (bench.job(hung).status, bench.job(hung).attempts_left) == (JobStatus.QUEUED, MAX_ATTEMPTS - 1)
    assert "longer than 1 seconds" in bench.job(hung).error
    assert (bench.job(other).status, bench.job(other).attempts_left) == (JobStatus.QUEUED, MAX_ATTEMPTS)


def test_a_model_that_takes_long_to_open_does_not_count_as_hanging(make: Make) -> None:
    opened = threading.Event()

    def prepare() -> None:
        opened.wait(10)

    bench = make(Doubler(prepare=prepare), timeout_s=1)
    job = bench.submit(1)
    bench.start()

    opened.wait(1.5)
    opened.set()

    bench.await_status(JobStatus.SUCCEEDED, job)
    assert bench.job(job).attempt == 1


def test_what_cannot_be_opened_fails_with_the_reason(make: Make) -> None:
    bench = make(Doubler(prepare=partial(raising(ArtifactCorrupt("model.onnx is damaged")), {})))
    job = bench.submit(1)

    bench.start()

    (failed,) = bench.await_status(JobStatus.FAILED, job)
    assert failed.error == "model.onnx is damaged"


def test_a_device_that_breaks_while_a_model_is_opened_costs_no_attempt(make: Make) -> None:
    bench = make(Doubler(prepare=partial(raising(DeviceMissing("the device broke")), {})))
    job = bench.submit(1)

    bench.start()

    assert bench.ended() == 1
    assert (bench.job(job).status, bench.job(job).attempts_left) == (JobStatus.QUEUED, MAX_ATTEMPTS)


def test_a_device_that_breaks_ends_the_worker_and_costs_only_what_it_ran_an_attempt(make: Make) -> None:
    began, go_on = threading.Event(), threading.Event()

    def break_down(_feeds: Mapping[str, Array]) -> None:
        began.set()
        go_on.wait(10)
        raise DeviceMissing("CUDA failure 700: an illegal memory access was encountered")

    bench = make(Doubler(break_down), max_batch_size=2, max_wait_ms=0)
    first = bench.submit(1, rows=2)
    bench.start()
    began.wait(10)
    second = bench.submit(2, rows=2)
    assert eventually(lambda: bench.job(second).status is JobStatus.RUNNING)
    go_on.set()

    assert bench.ended() == 1
    assert (bench.job(first).status, bench.job(first).attempts_left) == (JobStatus.QUEUED, MAX_ATTEMPTS - 1)
    assert "CUDA failure 700" in bench.job(first).error
    assert (bench.job(second).status, bench.job(second).attempts_left) == (JobStatus.QUEUED, MAX_ATTEMPTS)


def test_a_job_whose_attempt_came_to_nothing_before_runs_alone(make: Make) -> None:
    runner = Doubler()
    bench = make(runner, max_wait_ms=300)
    suspect = bench.submit(1)
    bench.memory.service.table.change(suspect.id, lambda job: jobs.claim(job, "dead", 0, 1))
    made = [bench.submit(number) for number in range(3)]

    bench.start()

    bench.await_status(JobStatus.SUCCEEDED, suspect, *made)
    assert sorted(runner.sizes) == [1, 3]


def test_what_takes_long_is_kept_hidden_and_its_lease_alive(make: Make) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait(_feeds: Mapping[str, Array]) -> None:
        began.set()
        go_on.wait(10)

    runner = Doubler(wait)
    bench = make(runner, visibility_s=1)
    job = bench.submit(1)
    bench.start()
    began.wait(10)
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
        go_on.wait(10)

    bench = make(Doubler(wait))
    job = bench.submit(1)
    bench.start()
    began.wait(10)
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

    assert eventually(lambda: message.receives == 1 and began_s + 1 < message.visible_at_s < began_s + 30)


def test_a_message_whose_job_is_on_another_tier_by_now_is_done_with(make: Make) -> None:
    bench = make()
    asked = Submission(CALLER, MODEL, "1", Payload.of(b"{}", {}), tier=LAMBDA)
    job = bench.memory.service.submit(asked)
    bench.memory.queues.queues["test-tiny-gpu-jobs"] = bench.memory.queues.queues.pop("test-tiny-lambda-jobs")

    bench.start()

    assert eventually(lambda: bench.memory.queues.left() == 0)
    assert (bench.job(job).status, bench.job(job).attempt) == (JobStatus.QUEUED, 0)


def test_health_is_told_while_it_works(make: Make, tmp_path: Path) -> None:
    bench = make()

    bench.start()

    assert eventually((tmp_path / "healthy").exists)


@pytest.mark.parametrize("stop_within_s", [1, 2, 6, 30, 120])
def test_every_stop_leaves_time_to_give_back(stop_within_s: int) -> None:
    timings = Timings(stop_within_s=stop_within_s)

    assert 0 <= timings.compute_within_s < stop_within_s
    assert timings.poll_s <= max(1, stop_within_s / 4)


def test_a_lease_ends_before_its_message_comes_again() -> None:
    timings = Timings(visibility_s=90)

    assert timings.lease_ms < 90_000
    assert 2 * timings.beat_s * 1000 < timings.lease_ms


def test_a_worker_of_no_model_or_an_unknown_one_says_so() -> None:
    with pytest.raises(ConfigInvalid, match="ONNXLIFT_SERVE is empty"):
        served(WorkerSettings())
    with pytest.raises(ConfigInvalid, match="'huge' does not exist"):
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
