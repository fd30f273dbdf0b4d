"""What is held stays the worker's: messages hidden, leases alive, and nothing beyond the twelve
hours of SQS.
"""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_fallback.messages.heartbeat import HELD_AT_MOST_S, Heartbeat, sort_out
from gpu_fallback.messages.in_flight import Holding
from onnxlift_runtime.aws.queues import Message
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs.job import Job, Payload
from onnxlift_runtime.jobservice.service import Submission
from onnxlift_runtime.jobservice.worker import Worker
from onnxlift_runtime.names import GPU
from tests.support.memory import Memory
from tests.unit.gpu_fallback.conftest import CALLER, MODEL, Doubler, Told

VISIBILITY_S, LEASE_MS = 60, 48_000


def holding(received_s: float) -> Holding:
    return Holding(Message("q", "r", "j", 1), received_s)


@given(st.lists(st.floats(0, 2 * HELD_AT_MOST_S)), st.integers(1, 600))
def test_nothing_is_kept_hidden_for_longer_than_sqs_allows(
    received_s: list[float], visibility_s: int
) -> None:
    now_s = 2.0 * HELD_AT_MOST_S
    held = [holding(received) for received in received_s]

    kept, overdue = sort_out(held, now_s, visibility_s)

    assert len(kept) + len(overdue) == len(held)
    assert all(now_s + visibility_s - item.received_s <= HELD_AT_MOST_S for item in kept)
    assert all(now_s + visibility_s - item.received_s > HELD_AT_MOST_S for item in overdue)


def claimed(memory: Memory, core: Worker) -> tuple[Job, Holding]:
    """A job that is submitted, received and claimed."""
    job = memory.service.submit(Submission(CALLER, MODEL, "1", Payload.of(b"{}", {}), tier=GPU))
    (message,) = memory.service.queues.receive(MODEL, GPU, 1, 0, VISIBILITY_S)
    held = core.claim(job.id, LEASE_MS, alone=False)
    assert isinstance(held, Job)
    return held, Holding(message, 0.0, held)


def test_messages_and_leases_are_prolonged() -> None:
    memory = Memory()
    core = Worker(memory.service, Doubler(), Told(), "worker-1", 10**6)
    job, held = claimed(memory, core)
    lost: list[Holding] = []

    Heartbeat(core, VISIBILITY_S, 10 * LEASE_MS, lost.append).beat([held])

    assert memory.service.table.get(job.id).lease_until_ms > job.lease_until_ms
    assert (memory.queues.extended, lost) == (1, [])


def test_a_job_that_another_worker_holds_by_now_is_lost() -> None:
    memory = Memory()
    core = Worker(memory.service, Doubler(), Told(), "worker-1", 10**6)
    job, held = claimed(memory, core)
    memory.service.table.change(
        job.id, lambda found: lifecycle.claim(found, "other", 10**15, LEASE_MS)
    )
    lost: list[Holding] = []

    Heartbeat(core, VISIBILITY_S, LEASE_MS, lost.append).beat([held])

    assert lost == [held]


def test_a_store_that_is_away_loses_nothing() -> None:
    memory = Memory()
    core = Worker(memory.service, Doubler(), Told(), "worker-1", 10**6)
    _, held = claimed(memory, core)
    lost: list[Holding] = []

    with memory.failing(1.0):
        Heartbeat(core, VISIBILITY_S, LEASE_MS, lost.append).beat([held])

    assert lost == []


def test_a_lease_is_renewed_while_the_result_is_still_on_its_way() -> None:
    memory = Memory()
    core = Worker(memory.service, Doubler(), Told(), "worker-1", 10**6)
    job, held = claimed(memory, core)
    held.closed = True

    Heartbeat(core, VISIBILITY_S, 10 * LEASE_MS, lambda _holding: None).beat([held])

    assert memory.service.table.get(job.id).lease_until_ms > job.lease_until_ms


def test_the_leases_of_many_jobs_are_renewed_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    core = Worker(memory.service, Doubler(), Told(), "worker-1", 10**6)
    both, waiting = threading.Barrier(2, timeout=60), [claimed(memory, core)[1] for _ in range(2)]

    def wait_for_both(_name: str) -> None:
        both.wait()

    monkeypatch.setattr(memory.table.line, "pass_through", wait_for_both)

    Heartbeat(core, VISIBILITY_S, 10 * LEASE_MS, lambda _holding: None).beat(waiting)

    assert not both.broken
