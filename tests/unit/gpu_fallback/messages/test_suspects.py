"""Jobs that a worker has died with: nothing is held beside them, whatever becomes of them."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic, sleep

import pytest

from gpu_fallback.messages import quarantine
from onnxlift_runtime.jobs.job import MAX_ATTEMPTS, Job, JobStatus
from onnxlift_runtime.tensors.arrays import Array
from tests.support.builders import manifest, spec
from tests.unit.gpu_fallback.conftest import CALLER, MODEL, Bench, Doubler, Make, eventually

BOTH = tuple(
    manifest(
        (spec("x", "FP32", (-1, 2)),), (spec("y", "FP32", (-1, 2)),), name=name, max_batch_size=16
    )
    for name in (MODEL, "other")
)


@dataclass
class Gate:
    """What holds every run that has a number in it until it is opened."""

    number: float
    began: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def hold(self, feeds: Mapping[str, Array]) -> None:
        if self.number in feeds["x"]:
            self.began.set()
            self.go_on.wait(60)


def held(bench: Bench) -> list[Job]:
    """What the worker holds, as the table has it."""
    return [job for job in bench.memory.table.jobs() if job.lease_owner.startswith("worker-1")]


def test_a_suspect_is_held_with_nothing_beside_it_whatever_the_model(make: Make) -> None:
    seen: list[tuple[set[float], int]] = []

    def look(feeds: Mapping[str, Array]) -> None:
        seen.append((set(feeds["x"][:, 0].tolist()), len(held(bench))))

    bench = make(Doubler(look, manifests=BOTH), max_wait_ms=50)
    suspects = [
        bench.submit_suspect(-1 - number, model=BOTH[number % 2].name) for number in range(6)
    ]
    others = [bench.submit(number, model=BOTH[number % 2].name) for number in range(20)]

    bench.start()

    ended = bench.await_status(JobStatus.SUCCEEDED, *suspects, *others)
    assert [(len(numbers), count) for numbers, count in seen if min(numbers) < 0] == [(1, 1)] * 6
    assert [job.attempt for job in ended] == [2] * 6 + [1] * 20
    assert max(len(numbers) for numbers, _ in seen) > 1, "the others run together"


def test_what_comes_while_a_suspect_runs_is_claimed_when_it_has_ended(make: Make) -> None:
    gate = Gate(-1)
    bench = make(Doubler(gate.hold))
    suspect = bench.submit_suspect(-1)
    bench.start()
    assert gate.began.wait(60)

    other = bench.submit(1)
    sleep(0.1)
    during = [job.id for job in held(bench)]
    gate.go_on.set()

    bench.await_status(JobStatus.SUCCEEDED, suspect, other)
    assert during == [suspect.id]


def test_a_suspect_that_is_canceled_keeps_others_out_until_it_is_computed(make: Make) -> None:
    gate = Gate(-1)
    bench = make(Doubler(gate.hold), visibility_s=1)
    suspect = bench.submit_suspect(-1)
    bench.start()
    assert gate.began.wait(60)

    bench.memory.service.cancel(suspect.id, CALLER)
    other = bench.submit(1)
    assert eventually(lambda: not any(holding.job for holding in bench.worker._holdings.snapshot()))
    sleep(0.1)
    during = bench.job(other).status
    gate.go_on.set()

    bench.await_status(JobStatus.SUCCEEDED, other)
    assert (during, bench.job(suspect).status) == (JobStatus.QUEUED, JobStatus.CANCELED)


def test_a_stop_gives_back_whoever_waits_and_lets_the_suspect_end(make: Make) -> None:
    gate = Gate(-1)
    bench = make(Doubler(gate.hold))
    made = [bench.submit_suspect(-1) for _ in range(3)]
    bench.start()
    assert gate.began.wait(60)
    queue = bench.memory.queues.queues[f"test-{MODEL}-gpu-jobs"]

    bench.worker.stop()
    assert eventually(lambda: sum(message.visible_at_s <= monotonic() for message in queue) == 2)
    gate.go_on.set()

    assert bench.ended() == 0
    ended = [bench.job(job) for job in made]
    assert sorted(job.attempt for job in ended) == [1, 1, 2]
    assert [job.status for job in ended if job.attempt == 2] == [JobStatus.SUCCEEDED]


def test_a_suspect_that_does_not_end_within_the_stop_goes_back_as_one(make: Make) -> None:
    gate = Gate(-1)
    bench = make(Doubler(gate.hold), stop_within_s=2)
    suspect = bench.submit_suspect(-1)
    bench.start()
    assert gate.began.wait(60)

    status = bench.stop()
    gate.go_on.set()

    found = bench.job(suspect)
    assert status == 0
    assert (found.status, found.attempts_left, found.deaths) == (
        JobStatus.QUEUED,
        MAX_ATTEMPTS - 1,
        1,
    )


def test_what_came_is_left_to_others_where_a_suspect_takes_too_long(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "TURN_S", 0.0)
    gate = Gate(-1)
    bench = make(Doubler(gate.hold), max_wait_ms=0)
    suspect = bench.submit_suspect(-1)
    bench.start()
    assert gate.began.wait(60)

    other = bench.submit(1)
    (_, message) = bench.memory.queues.queues[f"test-{MODEL}-gpu-jobs"]
    assert eventually(lambda: message.receives == 0 or message.visible_at_s <= monotonic())
    during = bench.job(other)
    gate.go_on.set()

    assert (during.status, during.attempt) == (JobStatus.QUEUED, 0)
    bench.await_status(JobStatus.SUCCEEDED, suspect, other)
