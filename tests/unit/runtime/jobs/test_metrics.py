"""What is counted of a job's life, and how it is written."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime import telemetry
from onnxlift_runtime.errors import JobConflict, LeaseLost
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs.job import Delivery, Job, JobStatus, Payload
from onnxlift_runtime.jobs.metrics import BY_FUNCTION, UNITS, WITHOUT_MODEL, Meter, measure_change
from onnxlift_runtime.names import GPU, JOIN

LEASE_MS = 1_000
RESULT = Payload.of(b"42", {})
WAITING = Job("j", "me", "pets", "1", Payload.of(b"{}", {}), created_ms=0, expires_ms=10_000)
HELD = lifecycle.claim(WAITING, "a", 300, LEASE_MS)
FAILED = lifecycle.fail(HELD, HELD, "broken", 400)
LAST = replace(HELD, attempts_left=0)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("before", "after", "measured"),
    [
        (None, WAITING, {"jobs_submitted": 1}),
        (WAITING, HELD, {"queue_ms": 300}),
        (HELD, lifecycle.renew(HELD, HELD, 400, LEASE_MS), {}),
        (
            HELD,
            lifecycle.succeed(HELD, HELD, RESULT, 450),
            {"jobs_succeeded": 1, "attempts": 1, "run_ms": 150},
        ),
        (HELD, FAILED, {"jobs_failed": 1, "attempts": 1, "attempts_failed": 1}),
        (HELD, lifecycle.release(HELD, HELD, "busy", 400), {"attempts_failed": 1}),
        (
            LAST,
            lifecycle.release(LAST, LAST, "busy", 400),
            {"jobs_failed": 1, "attempts": 1, "attempts_failed": 1},
        ),
        (HELD, lifecycle.hand_back(HELD, HELD, "stopping", 400), {}),
        (HELD, lifecycle.claim(HELD, "b", 5_000, LEASE_MS), {"attempts_failed": 1}),
        (
            HELD,
            lifecycle.escalate(HELD, GPU, "too much", 5_000),
            {"jobs_escalated": 1, "attempts_failed": 1},
        ),
        (WAITING, lifecycle.escalate(WAITING, GPU, "too much", 100), {"jobs_escalated": 1}),
        (WAITING, lifecycle.expire(WAITING, 10_000), {"jobs_expired": 1}),
        (WAITING, lifecycle.cancel(WAITING, 100), {"jobs_canceled": 1}),
        (WAITING, lifecycle.abandon(WAITING, "nobody", 100), {"jobs_failed": 1}),
        (FAILED, lifecycle.retry(FAILED, 500), {"jobs_retried": 1}),
        (FAILED, lifecycle.note_webhook(FAILED, FAILED, "", 500), {"webhooks_delivered": 1}),
        (FAILED, lifecycle.note_webhook(FAILED, FAILED, "500", 500), {"webhooks_failed": 1}),
    ],
)
def test_a_change_is_measured_as_what_it_means(
    before: Job | None, after: Job, measured: dict[str, int]
) -> None:
    assert measure_change(before, after) == measured


def test_only_the_first_wait_is_measured_as_one() -> None:
    released = lifecycle.release(HELD, HELD, "busy", 400)

    assert measure_change(released, lifecycle.claim(released, "b", 5_000, LEASE_MS)) == {}


def test_what_is_refused_counts_as_refused_alone() -> None:
    dropped = replace(WAITING, delivery=Delivery(output_key="out/pets/a"))

    assert measure_change(None, dropped) == {"jobs_submitted": 1, "objects_ingested": 1}
    assert measure_change(None, lifecycle.abandon(WAITING, "no model", 0)) == {"jobs_refused": 1}
    assert measure_change(None, lifecycle.abandon(dropped, "no model", 0)) == {
        "jobs_refused": 1,
        "objects_refused": 1,
    }


def test_a_file_in_parts_is_one_job_whose_parts_wait_and_run() -> None:
    part = replace(WAITING, delivery=Delivery(whole="w", part=2))
    held = lifecycle.claim(part, "a", 300, LEASE_MS)
    whole = replace(WAITING, tier=JOIN)
    joining = lifecycle.claim(whole, "a", 300, LEASE_MS)

    told = [measure_change(None, part), measure_change(part, held)]
    told += [measure_change(held, lifecycle.succeed(held, held, RESULT, 450))]
    assert told == [{}, {"queue_ms": 300}, {"attempts": 1, "run_ms": 150}]
    told = [measure_change(None, whole), measure_change(whole, joining)]
    told += [measure_change(joining, lifecycle.succeed(joining, joining, RESULT, 450))]
    assert told == [{"jobs_submitted": 1}, {}, {"jobs_succeeded": 1}]


Step = Callable[[Job, int], Job]
STEPS: dict[str, Step] = {
    "claim": lambda job, now: lifecycle.claim(job, "a", now, LEASE_MS),
    "renew": lambda job, now: lifecycle.renew(job, job, now, LEASE_MS),
    "succeed": lambda job, now: lifecycle.succeed(job, job, RESULT, now),
    "fail": lambda job, now: lifecycle.fail(job, job, "broken", now),
    "release": lambda job, now: lifecycle.release(job, job, "busy", now),
    "hand_back": lambda job, now: lifecycle.hand_back(job, job, "stopping", now),
    "reclaim": lambda job, now: lifecycle.reclaim(job, now),
    "escalate": lambda job, now: lifecycle.escalate(job, GPU, "too much", now),
    "abandon": lambda job, now: lifecycle.abandon(job, "nobody", now),
    "expire": lambda job, now: lifecycle.expire(job, now),
    "cancel": lambda job, now: lifecycle.cancel(job, now),
    "retry": lambda job, now: lifecycle.retry(job, now),
    "note": lambda job, now: lifecycle.note_webhook(job, job, "", now),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 5_000)), max_size=40))
def test_ends_are_counted_once_each_whatever_befalls_a_job(steps: list[tuple[str, int]]) -> None:
    job, now_ms = WAITING, 0
    counted: Counter[str] = Counter(measure_change(None, job))
    ends = 0
    for name, later_ms in steps:
        now_ms += later_ms
        try:
            changed = STEPS[name](job, now_ms)
        except (JobConflict, LeaseLost):
            continue
        if changed is job:
            continue
        measured = measure_change(job, changed)
        ends += changed.final and not job.final
        counted.update(dict.fromkeys(measured, 1))
        assert set(measured) <= set(UNITS)
        assert all(value >= 0 for value in measured.values())
        job = changed

    assert sum(counted[f"jobs_{status.lower()}"] for status in JobStatus) == ends
    assert ends == counted["jobs_submitted"] + counted["jobs_retried"] - (not job.final)
    assert counted["attempts_failed"] + counted["jobs_succeeded"] <= job.attempt


def test_an_invocation_is_one_line_of_each_model(capsys: pytest.CaptureFixture[str]) -> None:
    meter = Meter("shop")

    with meter.gathered("batch"):
        for model in ("pets", "pets", "cars"):
            meter.watch(None, replace(WAITING, model=model))
        meter.note("pets", jobs_together=2)

    told = {(line.get("model"), line.get("function")): line for line in lines(capsys)}
    assert told["pets", None]["jobs_submitted"] == [1, 1]
    assert told["pets", None]["jobs_together"] == [2]
    assert told["cars", None]["_aws"]["CloudWatchMetrics"] == [
        {
            "Namespace": telemetry.NAMESPACE,
            "Dimensions": [["service", "model"]],
            "Metrics": [{"Name": "jobs_submitted", "Unit": "Count"}],
        }
    ]
    assert told[None, "batch"]["cold_starts"] == [1]


def test_only_the_first_invocation_of_a_process_is_a_cold_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    meter = Meter("shop")

    for _ in range(3):
        with meter.gathered("batch"):
            pass

    assert [line["cold_starts"] for line in lines(capsys)] == [[1]]


def test_what_happened_before_a_failure_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    meter = Meter("shop")

    def invoke() -> None:
        with meter.gathered("batch"):
            meter.watch(None, WAITING)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        invoke()

    assert [line["jobs_submitted"] for line in lines(capsys) if "model" in line] == [[1]]


def test_a_change_outside_an_invocation_is_written_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Meter("shop").watch(WAITING, HELD)

    (line,) = lines(capsys)
    assert (line["service"], line["model"], line["queue_ms"]) == ("shop", "pets", [300])


def test_what_was_refused_has_no_model_that_callers_make_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused = lifecycle.abandon(replace(WAITING, model="made up"), "no such model", 0)

    Meter("shop").watch(None, refused)

    (line,) = lines(capsys)
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]
    assert "made up" not in json.dumps(line)


def test_a_meter_without_a_service_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    meter = Meter()

    with meter.gathered("batch"):
        meter.watch(None, WAITING)
    meter.watch(None, WAITING)

    assert lines(capsys) == []


def test_nothing_is_lost_or_torn_between_threads(capsys: pytest.CaptureFixture[str]) -> None:
    meter = Meter("shop")

    def note() -> None:
        for _ in range(100):
            meter.note("pets", run_ms=1)

    threads = [threading.Thread(target=note) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(len(line["run_ms"]) for line in lines(capsys)) == 400


def test_the_metrics_with_other_dimensions_are_metrics() -> None:
    assert set(UNITS) >= WITHOUT_MODEL | BY_FUNCTION


def test_a_change_is_made_although_it_cannot_be_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_what: object) -> None:
        raise OSError("no room for the line")

    monkeypatch.setattr(telemetry, "measure", fail)

    Meter("shop").note("digits", jobs_retried=1)

    assert json.loads(capsys.readouterr().out)["why"] == "no room for the line"
