"""`onnxlift serve` with a model on GPU workers: the worker is a real process, and the same API
answers.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from onnxlift.client import Client
from onnxlift.client.jobs import Jobs
from onnxlift.local.process import RunningService, running_service
from onnxlift_runtime.jobs.job import JobStatus
from onnxlift_runtime.manifest import Latency
from tests.support import builders

TABLE = """
[models.{name}]
source = "model.onnx"
quality = {{ samples = "samples.npz" }}
placement = {{ {placement} }}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A model on the GPU, and one on Lambda that takes 640 ms for each row and may fall back to the
    GPU.
    """
    root = tmp_path_factory.mktemp("gpu")
    tables = TABLE.format(name="large", placement='tier = "gpu"') + TABLE.format(
        name="slow", placement="fallback=true"
    )
    (root / "onnxlift.toml").write_text(f'service = "gpu-local"\n{tables}')
    plain = builders.manifest().measurements
    slow = replace(plain, latency=(Latency(1, 600, 640), Latency(8, 5_000, 5_120)))
    builders.write_artifact(root / "artifacts", builders.identity(), name="large")
    builders.write_artifact(
        root / "artifacts",
        builders.identity(),
        name="slow",
        measurements=slow,
        max_batch_size=2_000,
    )
    with running_service(root / "onnxlift.toml", ["--quiet"]) as started:
        yield started


def infer(service: RunningService, model: str, rows: int) -> httpx.Response:
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 2], "data": [7.0] * 2 * rows}
    return httpx.post(
        f"{service.url}/v2/models/{model}/infer", json={"inputs": [tensor]}, timeout=120
    )


def test_the_inventory_says_what_runs_where(service: RunningService) -> None:
    assert [line.rpartition(", on ")[2] for line in service.lines[:2]] == [
        "gpu)",
        "lambda and gpu)",
    ]


def test_a_model_on_the_gpu_answers_an_ordinary_client(service: RunningService) -> None:
    with Client(service.url) as client:
        answer = client.infer("large", {"x": ("FP32", np.full((3, 2), 7, np.float32))})

    assert answer.outputs["y"].tolist() == [[7, 7]] * 3
    assert infer(service, "large", 1).headers["X-Onnxlift-Route"].startswith("gpu; reason=")


def test_an_unmodified_tritonclient_gets_its_answer_from_a_warm_worker(
    service: RunningService,
) -> None:
    infer(service, "large", 1)
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    given = triton.InferInput("x", [3, 2], "FP32")
    given.set_data_from_numpy(rows)

    with contextlib.closing(
        triton.InferenceServerClient(service.url.removeprefix("http://"))
    ) as client:
        ready = client.is_model_ready("large")
        answer = client.infer("large", [given])

    assert ready
    assert np.array_equal(answer.as_numpy("y"), rows)


def test_a_model_on_the_gpu_answers_tensorflow_serving(service: RunningService) -> None:
    answer = httpx.post(
        f"{service.url}/v1/models/large:predict", json={"instances": [[1, 2]]}, timeout=120
    )

    assert answer.json() == {"predictions": [[1, 2]]}


def test_the_client_follows_a_request_that_became_a_job(service: RunningService) -> None:
    with Client(service.url) as client:
        answer = client.infer("slow", {"x": ("FP32", np.full((1_000, 2), 7, np.float32))})

    assert answer.outputs["y"].shape == (1_000, 2)


def test_a_request_too_large_for_lambda_is_worked_on_by_the_gpu_worker(
    service: RunningService,
) -> None:
    answer = infer(service, "slow", 1_000)
    with Client(service.url) as client:
        job = Jobs(client).wait(answer.json()["id"], timeout_s=120)

    assert answer.status_code == 202
    assert answer.headers["X-Onnxlift-Route"].startswith('gpu; reason="1,000 rows take about 640 s')
    assert (job.status, job.tier) == (JobStatus.SUCCEEDED, "gpu")
