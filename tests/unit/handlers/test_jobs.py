"""Jobs from the request to the result, through the functions that do it in AWS."""

import base64
import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from botocore.exceptions import EndpointConnectionError

from handlers import batch, control, predict
from onnxlift_runtime import jobs
from onnxlift_runtime.aws import clients
from onnxlift_runtime.aws.herald import Herald
from onnxlift_runtime.errors import StoreUnavailable
from onnxlift_runtime.http import HEADER_LENGTH, Response
from onnxlift_runtime.jobs import MAX_ATTEMPTS, Job, JobStatus
from onnxlift_runtime.queueing import LOST_AFTER_MS
from tests.unit.handlers.conftest import CONTEXT, INFER, MODEL, Deployed, body, data_of

MIB = 1024 * 1024


def error_of(response: Response) -> str:
    told: str = json.loads(response.body)["error"]
    return told


def upload(deployed: Deployed, content: bytes, **request: str) -> str:
    """Upload as a caller does it, and return the reference."""
    form = json.loads(deployed.call("POST", "/v2/uploads", json.dumps(request).encode()).body)
    deployed.s3.put_object(Bucket="data", Key=form["fields"]["key"], Body=content)
    reference: str = form["upload"]
    return reference


def named(reference: str, rows: int, columns: int = 2) -> bytes:
    parameters = {"upload": reference}
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, columns], "parameters": parameters}
    return json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()


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
def test_a_request_that_cannot_run_is_refused_before_it_becomes_a_job(deployed: Deployed, text: bytes) -> None:
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


def test_a_wait_that_runs_out_is_answered_with_the_job(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_message_of_one_mebibyte_and_a_byte_travels_by_reference(deployed: Deployed) -> None:
    text = body(2)
    padded = text + b" " * (MIB + 1 - len(text))

    answer = deployed.call("POST", INFER, padded, prefer="respond-async")
    deployed.work()

    job = deployed.job(json.loads(answer.body)["id"])
    assert (job.payload.size_bytes, job.payload.body) == (MIB + 1, None)
    assert data_of(deployed.call("GET", f"/v2/jobs/{job.id}/result")) == [2, 2]


def test_a_body_above_the_limit_is_refused_with_the_way_to_upload(deployed: Deployed) -> None:
    answer = deployed.call("POST", INFER, b" " * (5 * MIB), prefer="respond-async")

    assert answer.status == 413
    assert "POST /v2/uploads" in error_of(answer)


def test_an_upload_of_40_mb_is_an_input_and_its_result_a_redirect(deployed: Deployed) -> None:
    array = np.arange(10_000_000, dtype="<f4").reshape(1, -1)
    reference = upload(deployed, array.tobytes())

    accepted = deployed.call("POST", INFER, named(reference, *array.shape), prefer="respond-async")
    deployed.work()
    answer = deployed.call("GET", f"{accepted.headers['Location']}/result")

    assert answer.status == 303
    place = urlsplit(answer.headers["Location"])
    stored = deployed.s3.get_object(Bucket="data", Key=place.path.removeprefix("/"))
    content = stored["Body"].read()
    assert place.netloc == "data.s3.eu-central-1.amazonaws.com"
    assert content[int(answer.headers[HEADER_LENGTH]) :] == array.tobytes()
    assert stored["Metadata"] == {HEADER_LENGTH.lower(): answer.headers[HEADER_LENGTH]}


def test_a_result_of_20_mb_is_a_redirect(deployed: Deployed) -> None:
    array = np.ones((1, 5_000_000), "<f4")
    accepted = deployed.call(
        "POST", INFER, named(upload(deployed, array.tobytes()), *array.shape), prefer="respond-async"
    )
    deployed.work()

    answer = deployed.call("GET", f"{accepted.headers['Location']}/result")
    result = deployed.job(json.loads(accepted.body)["id"]).result

    assert answer.status == 303
    assert result is not None
    assert result.size_bytes > 20_000_000
    assert f"/{result.key}?" in answer.headers["Location"]


def test_an_upload_may_be_an_input_at_once(deployed: Deployed) -> None:
    reference = upload(deployed, np.array([4, 5], "<f4").tobytes())

    answer = deployed.call("POST", INFER, named(reference, 1))

    assert answer.body[int(answer.headers[HEADER_LENGTH]) :] == np.array([4, 5], "<f4").tobytes()


@pytest.mark.parametrize("prefer", ["", "respond-async"])
def test_an_upload_of_another_caller_does_not_exist(deployed: Deployed, prefer: str) -> None:
    reference = upload(deployed, bytes(8))

    answer = deployed.call("POST", INFER, named(reference, 1), caller="key:another", prefer=prefer)
    deployed.work()

    if prefer:
        answer = deployed.call("GET", f"{answer.headers['Location']}/result", caller="key:another")
    assert answer.status == (500 if prefer else 404)
    assert "does not exist" in error_of(answer)


@pytest.mark.parametrize("encode", [lambda digest: digest.hex(), lambda digest: base64.b64encode(digest).decode()])
def test_an_upload_form_is_bound_in_size_and_checksum(deployed: Deployed, encode: Any) -> None:
    digest = hashlib.sha256(b"x").digest()

    form = json.loads(deployed.call("POST", "/v2/uploads", json.dumps({"sha256": encode(digest)}).encode()).body)

    assert form["max_bytes"] == 64 * MIB
    assert form["fields"]["x-amz-checksum-algorithm"] == "SHA256"
    assert form["fields"]["key"] == form["upload"]
    assert form["url"] == "https://data.s3.eu-central-1.amazonaws.com/"


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"sha256": 1}', b'{"sha256": "abc"}', b'{"sha256": "YWJj"}'])
def test_an_upload_with_a_checksum_that_is_none_is_refused(deployed: Deployed, text: bytes) -> None:
    assert deployed.call("POST", "/v2/uploads", text).status == 400


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("GET", "/result"), ("POST", "/cancel"), ("POST", "/retry")])
def test_another_callers_job_is_404(deployed: Deployed, method: str, rest: str) -> None:
    job_id = deployed.submit()

    answer = deployed.call(method, f"/v2/jobs/{job_id}{rest}", caller="key:another")

    assert answer.status == 404
    assert error_of(answer) == f"job '{job_id}' does not exist"
    assert json.loads(deployed.call("GET", "/v2/jobs", caller="key:another").body) == {"jobs": [], "next": None}


def test_a_cancel_racing_with_the_finish_has_one_outcome_told_truthfully(deployed: Deployed) -> None:
    made = [deployed.submit(number) for number in range(6)]

    with ThreadPoolExecutor(3) as pool:
        worked = pool.submit(deployed.work)
        answers = list(pool.map(lambda job_id: deployed.call("POST", f"/v2/jobs/{job_id}/cancel"), made))
        worked.result()

    for job_id, answer in zip(made, answers, strict=True):
        status = deployed.show(job_id)["status"]
        result = deployed.call("GET", f"/v2/jobs/{job_id}/result")
        assert (answer.status, status, result.status) in {(200, "CANCELED", 409), (409, "SUCCEEDED", 200)}
        assert status in answer.body.decode()


def test_a_job_canceled_while_it_runs_loses_its_result(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("search", ["status=DONE", "limit=0", "limit=101", "limit=x", "limit=-1", "cursor=%25"])
def test_a_list_refuses_what_it_does_not_know(deployed: Deployed, search: str) -> None:
    answer = deployed.call("GET", f"/v2/jobs?{search}")

    assert answer.status == 400
    assert f"'{search.partition('=')[0]}'" in error_of(answer)


def test_a_queued_job_has_a_position_and_an_estimated_start(deployed: Deployed) -> None:
    made = [deployed.submit(number) for number in range(3)]
    for age_s, job_id in enumerate(reversed(made)):  # created in the same millisecond they would share a place
        job = deployed.job(job_id)
        older = replace(job, created_ms=job.created_ms - 1_000 * age_s, revision=job.revision + 1)
        batch.worker().service.table.change(job_id, partial(_swap, older))

    shown = [deployed.show(job_id) for job_id in made]

    assert [job["position"] for job in shown] == [0, 1, 2]
    assert all(job["estimated_start_ms"] >= job["created_ms"] for job in shown)


def test_a_time_limit_that_passed_expires_the_job(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = deployed.submit(x_onnxlift_ttl="1")
    later(deployed, monkeypatch, 1_000)

    assert deployed.show(job_id)["status"] == "EXPIRED"
    assert deployed.call("GET", f"/v2/jobs/{job_id}/result").status == 409


@pytest.mark.parametrize("ttl", ["0", "-1", "1.5", "21601", "soon"])
def test_a_time_limit_out_of_range_is_refused(deployed: Deployed, ttl: str) -> None:
    answer = deployed.infer(x_onnxlift_ttl=ttl)

    assert answer.status == 400
    assert "from 1 to 21600" in error_of(answer)


def test_a_poison_message_and_a_held_job_leave_their_neighbours_alone(deployed: Deployed) -> None:
    good, held = deployed.submit(1), deployed.submit(2)
    batch.worker().service.table.change(held, lambda job: jobs.claim(job, "other", job.created_ms, 10**9))
    records = deployed.receive(f"test-{MODEL}-lambda-jobs")
    poison = {**records[0], "messageId": "poison", "body": "no job"}

    failures = batch.handler({"Records": [poison, *records]}, CONTEXT)["batchItemFailures"]

    expected = next(record["messageId"] for record in records if held in record["body"])
    assert failures == [{"itemIdentifier": expected}]
    assert deployed.show(good)["status"] == "SUCCEEDED"


def test_a_job_held_by_another_comes_again_soon(deployed: Deployed) -> None:
    job_id = deployed.submit()
    batch.worker().service.table.change(job_id, lambda job: jobs.claim(job, "other", job.created_ms, 10**9))

    assert len(deployed.work()) == 1
    url = deployed.sqs.get_queue_url(QueueName=f"test-{MODEL}-lambda-jobs")["QueueUrl"]
    hidden = deployed.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert hidden["ApproximateNumberOfMessagesNotVisible"] == "1"


def _swap(new: Job, _old: Job) -> Job:
    return new


def later(deployed: Deployed, monkeypatch: pytest.MonkeyPatch, milliseconds: int) -> None:
    """Move the clock of the control function."""
    service = control.desk().service
    clock = service.clock
    moved = replace(service, clock=lambda: clock() + milliseconds)
    desk = replace(control.desk(), service=moved)
    control._job_routes.cache_clear()
    monkeypatch.setattr(control, "desk", lambda: desk)


def test_a_sweep_of_healthy_jobs_does_nothing(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed.submit()
    later(deployed, monkeypatch, LOST_AFTER_MS)

    assert deployed.sweep() == {"expired": 0, "reclaimed": 0, "resent": 0}


def test_a_sweep_sends_lost_messages_again(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [deployed.submit() for _ in range(3)]
    deployed.sqs.purge_queue(QueueUrl=deployed.sqs.get_queue_url(QueueName=f"test-{MODEL}-lambda-jobs")["QueueUrl"])
    early = deployed.sweep()
    later(deployed, monkeypatch, LOST_AFTER_MS)

    assert early["resent"] == 0
    assert deployed.sweep()["resent"] == 3
    assert deployed.sweep()["resent"] == 0
    assert sorted(deployed.announced()) == sorted(made)


def test_a_sweep_takes_jobs_from_dead_workers(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    once, thrice = deployed.submit(1), deployed.submit(2)
    table = batch.worker().service.table
    for job_id, times in ((once, 1), (thrice, MAX_ATTEMPTS)):
        for _ in range(times):
            table.change(job_id, lambda job: jobs.claim(job, "dead", job.created_ms, 0))
    deployed.announced()

    assert deployed.sweep()["reclaimed"] == 2
    assert [deployed.job(job_id).status for job_id in (once, thrice)] == [JobStatus.QUEUED, JobStatus.FAILED]
    deployed.work()
    assert data_of(deployed.call("GET", f"/v2/jobs/{once}/result")) == [1, 1]


def test_a_sweep_expires_what_waited_too_long(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = deployed.submit(x_onnxlift_ttl="1")
    later(deployed, monkeypatch, 2_000)

    assert deployed.sweep()["expired"] == 1
    assert deployed.show(job_id)["status"] == "EXPIRED"


def test_an_end_that_cannot_be_told_is_told_with_the_message(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def tell(_herald: Herald, job: Job) -> None:
        told.append(job.id)
        if len(told) == 1:
            raise StoreUnavailable("EventBridge is away")

    monkeypatch.setattr(Herald, "tell", tell)
    job_id = deployed.submit()

    assert len(deployed.work()) == 1
    assert deployed.show(job_id)["status"] == "SUCCEEDED"
    assert batch.worker().work([job_id], 1_000) == frozenset()
    assert told == [job_id, job_id]


def test_a_store_that_is_away_is_503_with_retry_after(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(request: Any, **_context: Any) -> None:
        raise EndpointConnectionError(endpoint_url=request.url)

    clients.dynamodb().meta.events.register("before-send", refuse)

    answer = deployed.infer()

    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert "no answer from dynamodb" in error_of(answer)


def test_a_service_without_jobs_answers_at_once(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXLIFT_JOBS_TABLE", "")
    control.service.cache_clear()

    assert data_of(deployed.infer(1)) == [1, 1]
    assert deployed.call("GET", "/v2/jobs").status == 404
    assert "/v2/jobs" not in json.loads(deployed.call("GET", "/openapi.json").body)["paths"]
