"""How a worker ends: asked to, because an inference hangs, or because its device broke."""

import threading
from collections.abc import Mapping
from functools import partial

import pytest

from gpu_fallback.worker import Timings
from onnxlift_runtime.errors import DeviceMissing
from onnxlift_runtime.jobs.job import MAX_ATTEMPTS, JobStatus
from onnxlift_runtime.tensors.arrays import Array
from tests.unit.gpu_fallback.conftest import Doubler, Make, eventually, raising


def test_a_stop_finishes_what_computes_and_gives_back_the_rest_at_once(make: Make) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait(_feeds: Mapping[str, Array]) -> None:
        began.set()
        go_on.wait(60)

    bench = make(Doubler(wait), max_batch_size=2, max_wait_ms=0)
    first = bench.submit(1, rows=2)
    bench.start()
    began.wait(60)
    second = [bench.submit(number, rows=2) for number in (2, 3)]
    assert eventually(lambda: all(bench.job(job).status is JobStatus.RUNNING for job in second))

    bench.worker.stop()
    back = bench.await_status(JobStatus.QUEUED, *second)
    go_on.set()

    assert bench.ended() == 0
    assert bench.job(first).status is JobStatus.SUCCEEDED
    assert [job.attempts_left for job in back] == [MAX_ATTEMPTS] * 2
    assert bench.memory.queues.left() == 2
    assert all(
        message.visible_at_s < 1e9 for message in bench.memory.queues.queues["test-tiny-gpu-jobs"]
    )


def test_what_does_not_finish_within_the_stop_goes_back_with_its_attempt(make: Make) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait(_feeds: Mapping[str, Array]) -> None:
        began.set()
        go_on.wait(60)

    bench = make(Doubler(wait), stop_within_s=2)
    job = bench.submit(1)
    bench.start()
    began.wait(60)

    status = bench.stop()
    go_on.set()

    assert status == 0
    assert (bench.job(job).status, bench.job(job).attempts_left) == (JobStatus.QUEUED, MAX_ATTEMPTS)


def test_a_hanging_inference_ends_the_worker_and_costs_only_its_own_job_an_attempt(
    make: Make,
) -> None:
    go_on = threading.Event()

    def hang(_feeds: Mapping[str, Array]) -> None:
        go_on.wait(60)

    bench = make(Doubler(hang), timeout_s=1, max_batch_size=2, max_wait_ms=0)
    hung = bench.submit(1, rows=2)
    bench.start()
    assert eventually(lambda: bench.job(hung).status is JobStatus.RUNNING)
    other = bench.submit(2, rows=2)

    status = bench.ended()
    go_on.set()

    assert status == 1
    assert (bench.job(hung).status, bench.job(hung).attempts_left) == (
        JobStatus.QUEUED,
        MAX_ATTEMPTS - 1,
    )
    assert "longer than 1 seconds" in bench.job(hung).error
    assert (bench.job(other).status, bench.job(other).attempts_left) == (
        JobStatus.QUEUED,
        MAX_ATTEMPTS,
    )


def test_a_model_that_takes_long_to_open_does_not_count_as_hanging(make: Make) -> None:
    opened = threading.Event()

    def prepare() -> None:
        opened.wait(60)

    bench = make(Doubler(prepare=prepare), timeout_s=1)
    job = bench.submit(1)
    bench.start()

    opened.wait(1.5)
    opened.set()

    bench.await_status(JobStatus.SUCCEEDED, job)
    assert bench.job(job).attempt == 1


def test_a_device_that_breaks_while_a_model_is_opened_costs_no_attempt(make: Make) -> None:
    bench = make(Doubler(prepare=partial(raising(DeviceMissing("the device broke")), {})))
    job = bench.submit(1)

    bench.start()

    assert bench.ended() == 1
    assert (bench.job(job).status, bench.job(job).attempts_left) == (JobStatus.QUEUED, MAX_ATTEMPTS)


def test_a_device_that_breaks_ends_the_worker_and_costs_only_what_it_ran_an_attempt(
    make: Make,
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def break_down(_feeds: Mapping[str, Array]) -> None:
        began.set()
        go_on.wait(60)
        raise DeviceMissing("CUDA failure 700: an illegal memory access was encountered")

    bench = make(Doubler(break_down), max_batch_size=2, max_wait_ms=0)
    first = bench.submit(1, rows=2)
    bench.start()
    began.wait(60)
    second = bench.submit(2, rows=2)
    assert eventually(lambda: bench.job(second).status is JobStatus.RUNNING)
    go_on.set()

    assert bench.ended() == 1
    assert (bench.job(first).status, bench.job(first).attempts_left) == (
        JobStatus.QUEUED,
        MAX_ATTEMPTS - 1,
    )
    assert "CUDA failure 700" in bench.job(first).error
    assert (bench.job(second).status, bench.job(second).attempts_left) == (
        JobStatus.QUEUED,
        MAX_ATTEMPTS,
    )


@pytest.mark.parametrize("stop_within_s", [1, 2, 6, 30, 120])
def test_every_stop_leaves_time_to_give_back(stop_within_s: int) -> None:
    timings = Timings(stop_within_s=stop_within_s)

    assert 0 <= timings.compute_within_s < stop_within_s
    assert timings.poll_s <= max(1, stop_within_s / 4)


def test_a_lease_ends_before_its_message_comes_again() -> None:
    timings = Timings(visibility_s=90)

    assert timings.lease_ms < 90_000
    assert 2 * timings.beat_s * 1000 < timings.lease_ms
