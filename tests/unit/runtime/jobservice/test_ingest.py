"""Objects in the bucket: one job and one answer for each version, however often they are told
of.
"""

import io
import json
import pickle
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxlift_runtime.jobs.job import Job, JobStatus
from onnxlift_runtime.jobservice import outputs
from onnxlift_runtime.jobservice.service import JobService
from tests.support.runtime.inboxes import CALL, ROWS, Inbox, notification, npy, npz


@pytest.fixture
def inbox(service: JobService, tmp_path: Path) -> Inbox:
    return Inbox.open(service, tmp_path)


def test_an_array_comes_back_as_an_archive_under_the_same_path(inbox: Inbox) -> None:
    inbox.drop("in/tiny/some folder/a+b ü.npy", npy(ROWS))

    (name, body), *others = inbox.out().items()
    assert (name, others) == ("tiny/some folder/a+b ü.npy.npz", [])
    assert np.load(io.BytesIO(body))["y"].tolist() == ROWS.tolist()
    assert [job.status for job in inbox.jobs()] == [JobStatus.SUCCEEDED]


def test_every_format_is_answered_in_its_own_kind(inbox: Inbox) -> None:
    inbox.drop("in/pair/p.npz", npz(a=ROWS, b=np.array([[7], [8]])))
    inbox.drop("in/tiny/j.json", json.dumps(CALL).encode())
    inbox.drop("in/tiny/t.json", b'{"instances": [[1, 2]]}')
    inbox.drop("in/tiny/l.jsonl", b"[1, 2]\n\n[3]\n" + json.dumps(CALL).encode())
    inbox.drop("in/words/w.txt", "Grüße".encode())

    out = inbox.out()
    assert np.load(io.BytesIO(out["pair/p.npz.npz"]))["b_out"].tolist() == [[7], [8]]
    assert json.loads(out["tiny/j.json.json"])["outputs"][0]["data"] == [5, 6]
    assert json.loads(out["tiny/t.json.json"]) == {"predictions": [[1, 2]]}
    assert json.loads(out["words/w.txt.json"])["outputs"][0]["data"] == ["Grüße"]
    lines = [json.loads(line) for line in out["tiny/l.jsonl.jsonl"].splitlines()]
    assert lines[0] == {"predictions": [[1, 2]]}
    assert "line 3: input 'x' has shape [1,1]" in lines[1]["error"]
    assert lines[2]["outputs"][0]["data"] == [5, 6]
    assert len(out) == 5


def test_a_picture_is_answered_as_json(inbox: Inbox) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    picture = io.BytesIO()
    image.new("RGB", (2, 1), (1, 2, 3)).save(picture, "PNG")

    inbox.drop("in/pixels/i.PNG", picture.getvalue())

    assert json.loads(inbox.out()["pixels/i.PNG.json"])["outputs"][0]["data"] == [1, 1, 2, 2, 3, 3]


def _pickled() -> bytes:
    return npy(np.array([{"a": 1}], dtype=object))


BAD: dict[str, Callable[[], bytes]] = {
    "in/tiny/empty.npy": lambda: b"",
    "in/tiny/truncated.npy": lambda: npy(ROWS)[:-3],
    "in/tiny/header-cut.npy": lambda: npy(ROWS)[:20],
    "in/tiny/pickled.npy": _pickled,
    "in/tiny/pickle.npy": lambda: pickle.dumps([1, 2]),
    "in/tiny/bomb.npz": lambda: npz(x=np.zeros((10**6, 2), np.float32)),
    "in/tiny/not-zip.npz": lambda: b"PK nothing",
    "in/tiny/shape.npy": lambda: npy(np.zeros((1, 3), np.float32)),
    "in/tiny/type.npy": lambda: npy(ROWS.astype(np.float64)),
    "in/nobody/a.npy": lambda: npy(ROWS),
    "in/tiny/a.docx": lambda: b"x",
    "in/tiny/noextension": lambda: b"x",
    "in/orphan.npy": lambda: npy(ROWS),
    "in/tiny/a.json": lambda: b"{",
    "in/tiny/deep.json": lambda: b"[" * 9_000,
    "in/tiny/a.jsonl": lambda: b"{\n[1]\n",
    "in/tiny/blank.jsonl": lambda: b"\n\n",
    "in/tiny/a.txt": lambda: b"text for a model of numbers",
    "in/pixels/a.png": lambda: b"no picture",
    "in/pixels/cut.png": lambda: b"\x89PNG\r\n\x1a\n" + b"\0" * 20,
    "in/tiny/a.png": lambda: b"\x89PNG\r\n\x1a\n",
    "in/tiny/a.parquet": lambda: b"PAR1",
}


@pytest.mark.parametrize("key", BAD)
def test_a_bad_object_becomes_a_failed_job_and_says_why(inbox: Inbox, key: str) -> None:
    inbox.drop(key, BAD[key]())

    (name, body), *others = inbox.out().items()
    (job,) = inbox.jobs()
    assert (name, others) == (key.removeprefix("in/") + ".error.json", [])
    assert job.status is JobStatus.FAILED
    assert json.loads(body)["error"] == job.error
    assert len(job.error) > 15


def test_a_format_that_is_unknown_is_answered_with_those_a_file_may_have(inbox: Inbox) -> None:
    inbox.drop("in/tiny/a.parquet", b"PAR1")

    assert inbox.jobs()[0].error.endswith(
        "is not read here; read are: json, jsonl, npy, npz, image, text"
    )


def test_an_object_that_is_too_large_is_refused_unread(inbox: Inbox) -> None:
    inbox.take(notification("in/tiny/huge.npy", 2**40, version="v"))

    assert "at most" in inbox.jobs()[0].error


@pytest.mark.parametrize("key", ["in/tiny/folder/", "other/a.npy"])
def test_what_is_no_input_is_left_alone(inbox: Inbox, key: str) -> None:
    inbox.drop(key, b"")

    assert (inbox.jobs(), inbox.out()) == ([], {})


def test_an_event_delivered_five_times_and_out_of_order_gives_one_job_for_each_version(
    inbox: Inbox,
) -> None:
    events = [inbox.put("in/tiny/a.npy", npy(ROWS + index)) for index in range(3)]
    deliveries = events * 5
    random.Random(7).shuffle(deliveries)

    for event in deliveries:
        inbox.take(event)
        if event is events[2]:
            inbox.settle()
    inbox.settle()

    assert [job.status for job in inbox.jobs()] == [JobStatus.SUCCEEDED] * 3
    assert [job.attempt for job in inbox.jobs()] == [1] * 3
    assert list(inbox.out()) == ["tiny/a.npy.npz"]
    assert np.load(io.BytesIO(inbox.out()["tiny/a.npy.npz"]))["y"].tolist() == (ROWS + 2).tolist()


@pytest.mark.parametrize("last_is_good", [True, False])
def test_the_newest_version_decides_what_stands_in_out(inbox: Inbox, last_is_good: bool) -> None:
    bodies = [npy(ROWS), b"broken"] if not last_is_good else [b"broken", npy(ROWS)]
    events = [inbox.put("in/tiny/a.npy", body) for body in bodies]

    for event in (*reversed(events), *events):
        inbox.take(event)
        inbox.settle()

    assert list(inbox.out()) == ["tiny/a.npy" + (".npz" if last_is_good else ".error.json")]


def test_an_answer_that_was_overwritten_by_an_older_one_is_written_again(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = (inbox.put("in/tiny/a.npy", npy(ROWS + index)) for index in range(2))
    write = outputs._write
    done: list[str] = []

    def write_late(service: JobService, job: Job, suffixes: frozenset[str]) -> None:
        if not done:  # the older job's writer is held up until the newer answer stands
            done.append(job.id)
            inbox.take(newer)
            inbox.settle()
        write(service, job, suffixes)

    monkeypatch.setattr(outputs, "_write", write_late)
    inbox.take(older)
    inbox.settle()

    assert np.load(io.BytesIO(inbox.out()["tiny/a.npy.npz"]))["y"].tolist() == (ROWS + 1).tolist()


def test_one_event_delivered_at_once_to_many_gives_one_job(inbox: Inbox) -> None:
    event = inbox.put("in/tiny/a.npy", npy(ROWS))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(inbox.take, [event] * 8))
    inbox.settle()

    assert [job.attempt for job in inbox.jobs()] == [1]


def test_events_of_both_forms_name_the_same_object(inbox: Inbox) -> None:
    key = "in/tiny/a b+c.npy"
    own = json.loads(inbox.put(key, npy(ROWS)))["Records"][0]["s3"]["object"]
    found = {"key": key, "size": own["size"], "etag": own["eTag"], "sequencer": own["sequencer"]}
    detail = {"bucket": {"name": "data"}, "object": {**found, "version-id": own["versionId"]}}
    bridge = {"detail-type": "Object Created", "detail": detail, "time": "2026-01-01T00:00:00Z"}

    inbox.take(json.dumps(bridge))
    inbox.take(json.dumps({"Records": [_record(own)]}))

    assert len(inbox.jobs()) == 1


def _record(found: dict[str, Any]) -> dict[str, Any]:
    return {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "data"}, "object": found}}


@pytest.mark.parametrize(
    "body", ['{"Event": "s3:TestEvent"}', '{"Records": [{"eventName": "ObjectRemoved:Delete"}]}']
)
def test_notifications_of_something_else_are_taken_and_forgotten(inbox: Inbox, body: str) -> None:
    inbox.take(body)

    assert inbox.jobs() == []


def test_an_answer_leaves_no_delete_markers_where_nothing_stood(inbox: Inbox) -> None:
    inbox.drop("in/tiny/a.npy", npy(ROWS))

    client = inbox.service.store._client
    assert "DeleteMarkers" not in client.list_object_versions(Bucket="data", Prefix="out/")


def test_an_object_in_a_bucket_that_keeps_one_version_is_told_apart_by_its_order(
    inbox: Inbox,
) -> None:
    inbox.put("in/tiny/a.npy", npy(ROWS))

    for sequencer in ("1", "2", "2"):
        inbox.take(notification("in/tiny/a.npy", version="null", sequencer=sequencer))
    inbox.settle()

    assert [job.status for job in inbox.jobs()] == [JobStatus.SUCCEEDED] * 2
