"""Jobs from the request to the result, through the functions that do it in AWS."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from handlers import batch, control, predict
from onnxlift_runtime.aws import clients
from onnxlift_runtime.jobs.job import Job
from tests.unit.handlers.conftest import INFER, MODEL, Deployed, body, data_of, error_of, later


def test_a_request_at_once_says_so(deployed: Deployed) -> None:
    answer = deployed.call("POST", INFER, body(3))

    assert data_of(answer) == [3, 3]
    assert answer.headers["X-Onnxlift-Route"].startswith("lambda; reason=")


def test_a_preferred_job_is_accepted_worked_on_and_answered(deployed: Deployed) -> None:
    accepted = deployed.infer(7)
    job_id = json.loads(accepted.body)["id"]
    waiting = deployed.show(job_id)
    deployed.work()
    ended = deployed.show(job_id)

    assert accepted.status == 202
    assert accepted.headers["Location"] == f"/v2/jobs/{job_id}"
    assert accepted.headers["Preference-Applied"] == "respond-async"
    assert waiting["reason"] in accepted.headers["X-Onnxlift-Route"]
    assert (waiting["status"], waiting["position"]) == ("QUEUED", 0)
    assert (ended["status"], ended["attempts"]) == ("SUCCEEDED", 1)
    assert data_of(deployed.call("GET", ended["result"])) == [7, 7]


@pytest.mark.parametrize("text", [b"{", b'{"inputs":[]}', body(1).replace(b"[1, 2]", b"[1, 3]")])
def test_a_request_that_cannot_run_is_refused_before_it_becomes_a_job(
    deployed: Deployed, text: bytes
) -> None:
    answer = deployed.call("POST", INFER, text, prefer="respond-async")

    assert answer.status == 400
    assert deployed.announced() == []


def test_a_wait_is_answered_with_the_result_when_the_job_ends_in_time(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = replace(predict.intake(), sleep=lambda _s: deployed.work())
    monkeypatch.setattr(predict, "intake", lambda: waiting)

    answer = deployed.infer(5, prefer="respond-async, wait=20")

    assert data_of(answer) == [5, 5]
    assert answer.headers["Preference-Applied"] == "respond-async, wait=20"
    assert re.fullmatch(r"/v2/jobs/[0-9a-f-]{36}", answer.headers["Location"])


def test_a_wait_that_runs_out_is_answered_with_the_job(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100))
    waiting = replace(predict.intake(), sleep=lambda _s: None, monotonic=lambda: float(next(clock)))
    monkeypatch.setattr(predict, "intake", lambda: waiting)

    answer = deployed.infer(prefer="respond-async, wait=3")

    assert (answer.status, json.loads(answer.body)["status"]) == (202, "QUEUED")


def test_an_idempotency_key_in_parallel_gives_one_job(deployed: Deployed) -> None:
    deployed.infer()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: deployed.infer(1, idempotency_key="k"), range(8)))

    assert {answer.status for answer in answers} == {202}
    assert len({json.loads(answer.body)["id"] for answer in answers}) == 1
    assert len(json.loads(deployed.call("GET", "/v2/jobs").body)["jobs"]) == 2


def test_an_idempotency_key_with_another_payload_is_a_conflict(deployed: Deployed) -> None:
    deployed.submit(1, idempotency_key="k")

    answer = deployed.infer(2, idempotency_key="k")

    assert answer.status == 409
    assert "'k' was used for another request" in error_of(answer)


@pytest.mark.parametrize(
    ("method", "rest"), [("GET", ""), ("GET", "/result"), ("POST", "/cancel"), ("POST", "/retry")]
)
def test_another_callers_job_is_404(deployed: Deployed, method: str, rest: str) -> None:
    job_id = deployed.submit()

    answer = deployed.call(method, f"/v2/jobs/{job_id}{rest}", caller="key:another")

    assert answer.status == 404
    assert error_of(answer) == f"job '{job_id}' does not exist"
    assert json.loads(deployed.call("GET", "/v2/jobs", caller="key:another").body) == {
        "jobs": [],
        "next": None,
    }


@pytest.mark.parametrize("name", ["x", "a" * 2_049, "é" * 36, "parts%23", "A" * 36])
def test_what_is_no_id_is_404_before_the_table_is_asked_which_takes_only_short_ones(
    deployed: Deployed, name: str
) -> None:
    asked: list[Any] = []
    control.jobs_api().service.table._client.meta.events.register(
        "before-call.dynamodb", lambda **_: asked.append(name)
    )

    answer = deployed.call("GET", f"/v2/jobs/{name}")

    assert answer.status == 404
    assert error_of(answer).endswith("does not exist") or len(name) > 1_000
    assert not asked


def test_a_cancel_racing_with_the_finish_has_one_outcome_told_truthfully(
    deployed: Deployed,
) -> None:
    made = [deployed.submit(number) for number in range(6)]

    with ThreadPoolExecutor(3) as pool:
        worked = pool.submit(deployed.work)
        answers = list(
            pool.map(lambda job_id: deployed.call("POST", f"/v2/jobs/{job_id}/cancel"), made)
        )
        worked.result()

    for job_id, answer in zip(made, answers, strict=True):
        status = deployed.show(job_id)["status"]
        result = deployed.call("GET", f"/v2/jobs/{job_id}/result")
        assert (answer.status, status, result.status) in {
            (200, "CANCELED", 409),
            (409, "SUCCEEDED", 200),
        }
        assert status in answer.body.decode()


def test_a_job_canceled_while_it_runs_loses_its_result(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = deployed.submit()
    engine = type(batch.worker().engine)
    run = engine.run

    def run_meanwhile(*args: Any) -> Any:
        assert deployed.call("POST", f"/v2/jobs/{job_id}/cancel").status == 200
        return run(*args)

    monkeypatch.setattr(engine, "run", run_meanwhile)
    deployed.work()

    assert deployed.show(job_id)["status"] == "CANCELED"
    assert deployed.call("GET", f"/v2/jobs/{job_id}/result").status == 409


def test_a_canceled_job_can_be_retried_and_then_succeeds(deployed: Deployed) -> None:
    job_id = deployed.submit(8)
    deployed.call("POST", f"/v2/jobs/{job_id}/cancel")

    retried = deployed.call("POST", f"/v2/jobs/{job_id}/retry")
    deployed.work()

    assert json.loads(retried.body)["status"] == "QUEUED"
    assert data_of(deployed.call("GET", f"/v2/jobs/{job_id}/result")) == [8, 8]
    assert deployed.call("POST", f"/v2/jobs/{job_id}/retry").status == 409


def test_a_list_is_filtered_and_paged(deployed: Deployed) -> None:
    made = [deployed.submit(number) for number in range(3)]
    deployed.call("POST", f"/v2/jobs/{made[0]}/cancel")

    first = json.loads(deployed.call("GET", "/v2/jobs?limit=2").body)
    second = json.loads(deployed.call("GET", f"/v2/jobs?limit=2&cursor={first['next']}").body)
    canceled = json.loads(deployed.call("GET", f"/v2/jobs?status=canceled&model={MODEL}").body)

    assert sorted(job["id"] for page in (first, second) for job in page["jobs"]) == sorted(made)
    assert [job["id"] for job in canceled["jobs"]] == [made[0]]


@pytest.mark.parametrize(
    "search", ["status=DONE", "limit=0", "limit=101", "limit=x", "limit=-1", "cursor=%25"]
)
def test_a_list_refuses_what_it_does_not_know(deployed: Deployed, search: str) -> None:
    answer = deployed.call("GET", f"/v2/jobs?{search}")

    assert answer.status == 400
    assert f"'{search.partition('=')[0]}'" in error_of(answer)


def _swap(new: Job, _old: Job) -> Job:
    return new


def test_a_queued_job_has_a_position_and_an_estimated_start(deployed: Deployed) -> None:
    made = [deployed.submit(number) for number in range(3)]
    for age_s, job_id in enumerate(
        reversed(made)
    ):  # created in the same millisecond they would share a place
        job = deployed.job(job_id)
        older = replace(job, created_ms=job.created_ms - 1_000 * age_s, revision=job.revision + 1)
        batch.worker().service.table.change(job_id, partial(_swap, older))

    shown = [deployed.show(job_id) for job_id in made]

    assert [job["position"] for job in shown] == [0, 1, 2]
    assert all(job["estimated_start_ms"] >= job["created_ms"] for job in shown)


def test_a_time_limit_that_passed_expires_the_job(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = deployed.submit(x_onnxlift_ttl="1")
    later(deployed, monkeypatch, 1_000)

    assert deployed.show(job_id)["status"] == "EXPIRED"
    assert deployed.call("GET", f"/v2/jobs/{job_id}/result").status == 409


@pytest.mark.parametrize("ttl", ["0", "-1", "1.5", "21601", "soon"])
def test_a_time_limit_out_of_range_is_refused(deployed: Deployed, ttl: str) -> None:
    answer = deployed.infer(x_onnxlift_ttl=ttl)

    assert answer.status == 400
    assert "from 1 to 21600" in error_of(answer)


def test_a_store_that_is_away_is_503_with_retry_after(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: Any, **_context: Any) -> None:
        raise EndpointConnectionError(endpoint_url=request.url)

    clients.dynamodb().meta.events.register("before-send", refuse)

    answer = deployed.infer()

    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert "no answer from dynamodb" in error_of(answer)


def test_a_service_without_jobs_answers_at_once(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONNXLIFT_JOBS_TABLE", "")
    control.service.cache_clear()

    assert data_of(deployed.infer(1)) == [1, 1]
    assert deployed.call("GET", "/v2/jobs").status == 404
    assert "/v2/jobs" not in json.loads(deployed.call("GET", "/openapi.json").body)["paths"]
