"""Large files of lines: cut, answered part by part, joined once and in order, wherever a process
stops.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onnxlift_runtime.aws.objects import ObjectStore
from onnxlift_runtime.errors import InferenceFailed, StoreUnavailable
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs import objects as names
from onnxlift_runtime.jobs.job import Job, JobStatus
from onnxlift_runtime.jobservice import split_join
from onnxlift_runtime.jobservice.service import JobService
from onnxlift_runtime.names import JOIN, ingest_queue_name
from tests.support.runtime.inboxes import LEASE_MS, Inbox
from tests.support.runtime.job_service import SERVICE

end = split_join.end
KEY, ANSWER, FAILURE = "in/tiny/many.jsonl", "tiny/many.jsonl.jsonl", "tiny/many.jsonl.error.json"
LINES = 60
FILE = b"".join(b"[%d, 0]\n" % number for number in range(LINES))


class Stopped(Exception):
    """A process that was killed."""


@pytest.fixture
def inbox(service: JobService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inbox:
    for module in (names, split_join):
        monkeypatch.setattr(module, "PART_BYTES", 100)
    return Inbox.open(service, tmp_path)


def answered(inbox: Inbox) -> list[float]:
    return [json.loads(line)["predictions"][0][0] for line in inbox.out()[ANSWER].splitlines()]


def whole(inbox: Inbox) -> Job:
    (found,) = [job for job in inbox.jobs() if job.tier == JOIN]
    return found


def some_parts(inbox: Inbox) -> list[Job]:
    return sorted(
        (job for job in inbox.jobs() if job.tier != JOIN), key=lambda job: job.delivery.part
    )


def test_a_large_file_is_answered_in_parts_and_in_order(inbox: Inbox) -> None:
    inbox.drop(KEY, FILE)

    assert answered(inbox) == list(range(LINES))
    assert len(some_parts(inbox)) > 4
    assert list(inbox.out()) == [ANSWER]
    assert (whole(inbox).status, whole(inbox).attempt) == (JobStatus.SUCCEEDED, 1)


def test_a_large_file_announced_again_and_again_is_joined_once(inbox: Inbox) -> None:
    event = inbox.put(KEY, FILE)

    for _ in range(3):
        inbox.take(event)
    inbox.settle()
    inbox.take(event)
    inbox.settle()

    assert answered(inbox) == list(range(LINES))
    assert {job.attempt for job in inbox.jobs()} == {1}


def test_bad_lines_are_told_in_their_place_by_their_number(inbox: Inbox) -> None:
    inbox.drop(KEY, FILE + b"[1]\n" * 30 + b"[7, 7]")

    lines = [json.loads(line) for line in inbox.out()[ANSWER].splitlines()]
    assert [
        f"line {LINES + 1 + number}: " in lines[LINES + number]["error"] for number in range(30)
    ] == [True] * 30
    assert lines[-1] == {"predictions": [[7, 7]]}


@pytest.mark.parametrize("stop_after", range(1, 7))
def test_a_split_that_stops_anywhere_starts_over_without_a_trace(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    event, calls = inbox.put(KEY, FILE), []

    def counted(method: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **more: object) -> object:
            calls.append(method)
            if len(calls) == stop_after:
                raise Stopped
            return method(*args, **more)

        return call

    with monkeypatch.context() as stopping:
        stopping.setattr(JobService, "submit", counted(JobService.submit))
        stopping.setattr(split_join, "_note", counted(split_join._note))
        with pytest.raises(Stopped):
            inbox.take(event)
    inbox.settle()
    inbox.take(event)
    inbox.settle()

    assert answered(inbox) == list(range(LINES))
    assert {job.attempt for job in inbox.jobs()} == {1}


def test_a_worker_that_died_before_telling_is_made_up_for_by_the_message_that_comes_again(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.take(inbox.put(KEY, FILE))
    last = some_parts(inbox)[-1]
    with monkeypatch.context() as dying:
        dying.setattr(
            split_join,
            "end",
            lambda _service, job: None if job.id == last.id else end(_service, job),
        )
        inbox.settle()
    assert whole(inbox).status is JobStatus.QUEUED

    inbox.worker.work([last.id], LEASE_MS)
    inbox.settle()

    assert answered(inbox) == list(range(LINES))


def test_parts_that_end_at_once_ask_for_a_join_at_least_once(inbox: Inbox) -> None:
    inbox.take(inbox.put(KEY, FILE))
    inbox._work()
    inbox.receive(ingest_queue_name(SERVICE))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(inbox.teller.tell, some_parts(inbox)))

    assert len(inbox.receive(ingest_queue_name(SERVICE))) >= 1


def test_a_join_asked_for_too_early_waits_for_the_last_part(inbox: Inbox) -> None:
    inbox.take(inbox.put(KEY, FILE))

    assert split_join.join(inbox.service, whole(inbox).id, "w", LEASE_MS) is None
    inbox.settle()

    assert answered(inbox) == list(range(LINES))


def test_a_joiner_that_died_is_followed_by_another(inbox: Inbox) -> None:
    inbox.take(inbox.put(KEY, FILE))
    inbox._work()
    inbox.service.table.change(whole(inbox).id, lambda job: lifecycle.claim(job, "dead", 1, 1))

    inbox.settle()

    assert (whole(inbox).attempt, answered(inbox)) == (2, list(range(LINES)))


def test_a_joiner_whose_lease_was_taken_publishes_nothing(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.take(inbox.put(KEY, FILE))
    inbox._work()
    write = ObjectStore.write

    def write_while_stolen(*args: object) -> object:
        inbox.service.cancel(whole(inbox).id, "s3")
        return write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(ObjectStore, "write", write_while_stolen)

    assert split_join.join(inbox.service, whole(inbox).id, "w", LEASE_MS) is None
    assert whole(inbox).result is None


def test_a_store_that_is_away_gives_the_join_back(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.take(inbox.put(KEY, FILE))
    inbox._work()

    def away(*_args: object) -> None:
        raise StoreUnavailable("S3 is away")

    with monkeypatch.context() as broken:
        broken.setattr(ObjectStore, "write", away)
        with pytest.raises(StoreUnavailable):
            split_join.join(inbox.service, whole(inbox).id, "w", LEASE_MS)
    inbox.settle()

    assert answered(inbox) == list(range(LINES))


def test_a_failed_part_fails_the_whole_and_a_retry_mends_both(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.take(inbox.put(KEY, FILE))
    first = some_parts(inbox)[1]
    inbox.service.table.change(first.id, lambda job: lifecycle.abandon(job, "out of memory", 1))
    inbox.teller.tell(inbox.service.get(first.id, "s3"))
    inbox.settle()
    told = json.loads(inbox.out()[FAILURE])["error"]

    inbox.service.retry(whole(inbox).id, "s3")
    inbox.settle()

    assert "part 2 of" in told
    assert "out of memory" in told
    assert (list(inbox.out()), answered(inbox)) == ([ANSWER], list(range(LINES)))


def test_a_retry_that_fails_again_ends_again(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> None:
        raise InferenceFailed("broken model")

    inbox.take(inbox.put(KEY, FILE))
    last = some_parts(inbox)[-1]
    inbox.service.cancel(last.id, "s3")
    inbox.teller.tell(inbox.service.get(last.id, "s3"))
    inbox.settle()
    monkeypatch.setattr(inbox.worker.__class__, "decode", fail)

    inbox.service.retry(whole(inbox).id, "s3")
    inbox.settle()

    assert (whole(inbox).status, "broken model" in whole(inbox).error) == (JobStatus.FAILED, True)


def test_cancel_of_the_whole_stops_its_parts(inbox: Inbox) -> None:
    inbox.take(inbox.put(KEY, FILE))

    inbox.teller.tell(inbox.service.cancel(whole(inbox).id, "s3"))
    inbox.settle()

    assert {job.status for job in inbox.jobs()} == {JobStatus.CANCELED}
    assert list(inbox.out()) == [FAILURE]


@pytest.mark.parametrize(
    ("body", "why"),
    [(b"\n" * 200, "has no line"), (b"[" + b"1" * (8 * 1024 * 1024 + 1), "line 1 has more than")],
)
def test_a_file_that_cannot_be_cut_fails_as_a_whole(inbox: Inbox, body: bytes, why: str) -> None:
    inbox.drop(KEY, body)

    assert why in json.loads(inbox.out()[FAILURE])["error"]
    assert whole(inbox).status is JobStatus.FAILED


def test_a_message_may_name_a_large_file(inbox: Inbox) -> None:
    inbox.put("uploads/many.jsonl", FILE)

    job = inbox.message({"model": "tiny", "s3": {"key": "uploads/many.jsonl"}})
    inbox.settle()

    done = inbox.service.get(job.id, "sqs:sender")
    assert done.result is not None
    assert len(inbox.service.store.fetch(done.result, 10**6).splitlines()) == LINES
