"""A model on GPU workers alone, and requests that are too much for Lambda: the same API, and the
route says why.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handlers import control, predict
from onnxlift_runtime.dataplane.engine import Engine
from onnxlift_runtime.dataplane.routing import GPU_ALONE
from onnxlift_runtime.http.message import Request, Response
from onnxlift_runtime.jobs.job import JobStatus
from onnxlift_runtime.jobs.queueing import decode_job_message
from onnxlift_runtime.jobservice.notifier import Notifier
from onnxlift_runtime.jobservice.requests import ORDINARY_WAIT_S, Intake
from onnxlift_runtime.jobservice.wiring import connect
from onnxlift_runtime.jobservice.worker import Worker
from onnxlift_runtime.manifest import Latency, read_manifest
from onnxlift_runtime.names import GPU, queue_name
from onnxlift_runtime.protocols.oip import HEADER_LENGTH
from onnxlift_runtime.settings import Settings
from tests.support import builders
from tests.support.errors import missing
from tests.unit.handlers.conftest import ME, MODEL, SERVICE, Deployed, _forget, body, data_of

LARGE = "large"
INFER, PREDICT = f"/v2/models/{LARGE}/infer", f"/v1/models/{LARGE}:predict"


class OnGpu:
    """The service with a model whose worker works whenever somebody waits, or never."""

    def __init__(self, deployed: Deployed, models_dir: Path) -> None:
        self.deployed = deployed
        settings = Settings.from_env({"ONNXLIFT_SERVICE": SERVICE})
        settings = replace(
            settings, models_dir=models_dir, threads=1, jobs_table="jobs", data_bucket="data"
        )
        self.service = connect(settings)
        self.worker = Worker(self.service, Engine.open(settings), Notifier(()), "gpu", 2**27)
        self.works = True
        self.awake = True
        self.slept_s = 0.0

    def sleep(self, wait_s: float) -> None:
        """What a waiting caller does, while the worker works."""
        self.slept_s += wait_s
        if self.works:
            records = self.deployed.receive(queue_name(SERVICE, LARGE, GPU))
            self.worker.work([decode_job_message(record["body"]) for record in records], 60_000)

    def call(self, method: str, path: str, content: bytes = b"", **headers: str) -> Response:
        """Send a request to where API Gateway sends those of models without a function."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(method, path, sent, {}, content, caller=ME)
        return Response.from_event(control.handler(request.to_event(), None))


@pytest.fixture
def gpu(deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OnGpu]:
    builders.write_artifact(
        tmp_path, builders.identity("FP32", (-1, -1)), name=LARGE, max_batch_size=100_000
    )
    deployed.sqs.create_queue(QueueName=queue_name(SERVICE, LARGE, GPU))
    monkeypatch.setenv("ONNXLIFT_TIERS", f"{LARGE}={GPU}")
    _forget()
    found = OnGpu(deployed, tmp_path)
    clock = iter(range(10_000))
    waiting = Intake(
        found.service, (), lambda _model: found.awake, found.sleep, lambda: float(next(clock))
    )
    monkeypatch.setattr("onnxlift_runtime.jobservice.wiring.open_intake", lambda _settings: waiting)
    control._remote_routes.cache_clear()
    yield found
    control._remote_routes.cache_clear()


def test_an_ordinary_client_gets_its_answer_from_a_worker_that_has_time(gpu: OnGpu) -> None:
    answer = gpu.call("POST", INFER, body(5, rows=2))

    assert data_of(answer) == [5, 5, 5, 5]
    assert answer.headers["X-Onnxlift-Route"] == f'gpu; reason="{GPU_ALONE}"'
    assert "Preference-Applied" not in answer.headers


def test_a_large_answer_comes_whole_and_not_as_a_redirect(gpu: OnGpu) -> None:
    answer = gpu.call("POST", INFER, body(5, rows=20_000))

    assert len(data_of(answer)) == 40_000


def test_a_binary_request_gets_a_binary_answer(gpu: OnGpu) -> None:
    tensor = {
        "name": "x",
        "datatype": "FP32",
        "shape": [1, 2],
        "parameters": {"binary_data_size": 8},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    pixels = np.array([1, 2], "<f4").tobytes()

    answer = gpu.call("POST", INFER, head + pixels, **{HEADER_LENGTH.lower(): str(len(head))})

    assert answer.body.endswith(pixels)
    assert HEADER_LENGTH in answer.headers


def test_workers_that_sleep_are_not_waited_for(gpu: OnGpu) -> None:
    gpu.awake = False

    answer = gpu.call("POST", INFER, body(5))

    assert answer.status == 202
    assert gpu.slept_s == 0
    assert int(answer.headers["Retry-After"]) > 1
    assert gpu.service.table.get(json.loads(answer.body)["id"]).reason == GPU_ALONE


def test_workers_with_a_long_queue_are_not_waited_for(
    gpu: OnGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = replace(read_manifest(tmp_path / LARGE / "1"))
    told = replace(
        slow,
        measurements=replace(slow.measurements, latency=(Latency(1, 1, ORDINARY_WAIT_S * 1_000),)),
    )
    (tmp_path / LARGE / "1" / "manifest.json").write_text(told.to_json())
    control.service.cache_clear()
    control._remote_routes.cache_clear()
    gpu.call("POST", INFER, body(1), prefer="respond-async")

    answer = gpu.call("POST", INFER, body(2))

    assert (answer.status, gpu.slept_s) == (202, 0)


def test_a_preference_is_followed_and_told(gpu: OnGpu) -> None:
    answer = gpu.call("POST", INFER, body(5), prefer="respond-async")

    assert answer.status == 202
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert answer.headers["X-Onnxlift-Route"].startswith("gpu; ")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "not JSON"),
        (b'{"inputs":[]}', "is missing"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[NaN,1]}]}', "not JSON"),
        (body(1).replace(b"[1, 2]", b"[1, 2, 3]"), "dimensions|shape"),
        (body(1).replace(b"FP32", b"FP64"), "datatype"),
    ],
)
def test_what_can_be_seen_to_be_wrong_is_refused_at_once(
    gpu: OnGpu, content: bytes, why: str
) -> None:
    answer = gpu.call("POST", INFER, content)

    assert answer.status == 400
    assert any(word in json.loads(answer.body)["error"] for word in why.split("|"))
    assert gpu.deployed.receive(queue_name(SERVICE, LARGE, GPU)) == []


def test_what_only_the_worker_sees_is_a_failure_with_its_words(gpu: OnGpu) -> None:
    answer = gpu.call(
        "POST",
        INFER,
        body(1).replace(b"[1, 1]", b'["one", 1]').replace(b"[1.0, 1.0]", b'["one", 1]'),
    )

    assert answer.status in {400, 500}
    assert "'x'" in json.loads(answer.body)["error"]


def test_tensorflow_serving_gets_its_answer_in_its_own_form(gpu: OnGpu) -> None:
    rows = gpu.call("POST", PREDICT, b'{"instances": [[1, 2], [3, 4]]}')
    columns = gpu.call("POST", PREDICT, b'{"inputs": [[1, NaN]]}')

    assert json.loads(rows.body) == {"predictions": [[1, 2], [3, 4]]}
    assert columns.body == b'{"outputs":[[1.0,NaN]]}'
    assert rows.headers["X-Onnxlift-Route"] == f'gpu; reason="{GPU_ALONE}"'


def test_tensorflow_serving_is_told_to_come_again_when_nobody_answers_in_time(gpu: OnGpu) -> None:
    gpu.works = False

    answer = gpu.call("POST", PREDICT, b'{"instances": [[1, 2]]}')

    (record,) = gpu.deployed.receive(queue_name(SERVICE, LARGE, GPU))
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 1
    assert f"POST {INFER}" in json.loads(answer.body)["error"]
    assert gpu.service.table.get(decode_job_message(record["body"])).status is JobStatus.CANCELED


def test_tensorflow_serving_knows_no_keys_of_jobs_so_that_the_next_try_is_a_new_one(
    gpu: OnGpu,
) -> None:
    gpu.works = False
    first = gpu.call("POST", PREDICT, b'{"instances": [[1, 2]]}', idempotency_key="k")
    gpu.works = True

    second = gpu.call("POST", PREDICT, b'{"instances": [[1, 2]]}', idempotency_key="k")

    assert first.status == 503
    assert json.loads(second.body) == {"predictions": [[1, 2]]}


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (f"/v2/models/{LARGE}", "name", LARGE),
        (f"/v2/models/{LARGE}/ready", "ready", True),
        (f"/v2/models/{LARGE}/versions/1/config", "max_batch_size", 100_000),
        (
            f"/v1/models/{LARGE}/metadata",
            "model_spec",
            {"name": LARGE, "signature_name": "", "version": "1"},
        ),
    ],
)
def test_metadata_and_readiness_are_those_of_any_model(
    gpu: OnGpu, path: str, key: str, value: Any
) -> None:
    answer = gpu.call("GET", path)

    assert answer.status == 200
    assert json.loads(answer.body)[key] == value


def test_an_unknown_version_and_an_unknown_model_are_not_found(gpu: OnGpu) -> None:
    assert gpu.call("GET", f"/v2/models/{LARGE}/versions/9").status == 404
    assert gpu.call("POST", "/v2/models/nobody/infer", body(1)).status == 404


def test_the_functions_of_lambda_models_leave_gpu_models_alone(gpu: OnGpu) -> None:
    assert list(predict.engine().catalog.models) == [MODEL]


def test_the_api_document_says_what_runs_on_the_gpu(gpu: OnGpu) -> None:
    document = json.loads(gpu.call("GET", "/openapi.json").body)

    described = {tag["name"]: tag["description"] for tag in document["tags"]}
    assert "GPU workers" in described[LARGE]
    assert "GPU" not in described[MODEL]


@pytest.fixture
def slow(
    deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Response]:
    """A Lambda model that takes 640 ms for each row."""
    folder = tmp_path / MODEL / "1"
    manifest = read_manifest(folder)
    measured = replace(
        manifest.measurements, latency=(Latency(1, 600, 640), Latency(8, 5_000, 5_120))
    )
    (folder / "manifest.json").write_text(replace(manifest, measurements=measured).to_json())
    _forget()
    return deployed.call


def test_a_request_too_large_for_the_api_becomes_a_job_without_being_asked(
    slow: Callable[..., Response], deployed: Deployed
) -> None:
    answer = slow("POST", f"/v2/models/{MODEL}/infer", body(3, rows=64))

    job = deployed.job(json.loads(answer.body)["id"])
    assert answer.status == 202
    assert answer.headers["Location"] == f"/v2/jobs/{job.id}"
    assert (
        answer.headers["X-Onnxlift-Route"]
        == 'lambda; reason="64 rows take about 41 s, the API waits 29 s"'
    )
    assert job.reason == "64 rows take about 41 s, the API waits 29 s"


def test_an_upload_too_large_for_the_api_becomes_a_job_before_it_is_fetched(
    slow: Callable[..., Response],
) -> None:
    tensor = {
        "name": "x",
        "datatype": "FP32",
        "shape": [64, 2],
        "parameters": {"upload": "uploads/nobody"},
    }

    answer = slow("POST", f"/v2/models/{MODEL}/infer", json.dumps({"inputs": [tensor]}).encode())

    assert answer.status == 202


def test_a_request_too_large_for_any_tier_is_refused_with_the_limits(
    slow: Callable[..., Response],
) -> None:
    answer = slow("POST", f"/v2/models/{MODEL}/infer", body(3, rows=1_000))

    assert answer.status == 413
    assert missing(json.loads(answer.body)["error"], "300 s") == []


def test_tensorflow_serving_is_refused_what_the_api_would_not_wait_for(
    slow: Callable[..., Response],
) -> None:
    rows = json.dumps({"instances": [[1, 2]] * 64}).encode()

    answer = slow("POST", f"/v1/models/{MODEL}:predict", rows)

    assert answer.status == 413
    assert f"POST /v2/models/{MODEL}/infer" in json.loads(answer.body)["error"]
    assert "X-Onnxlift-Route" not in answer.headers


def test_tensorflow_serving_answers_tell_their_route(
    slow: Callable[..., Response], deployed: Deployed
) -> None:
    request = Request(
        "POST", f"/v1/models/{MODEL}:predict", {}, {}, b'{"instances": [[1, 2]]}', caller=ME
    )

    answer = Response.from_event(predict.handler(request.to_event(), None))

    assert json.loads(answer.body) == {"predictions": [[1, 2]]}
    assert (
        answer.headers["X-Onnxlift-Route"]
        == 'lambda; reason="1 row takes about 640 ms, the API waits 29 s"'
    )
