"""A large input by the presigned form, and a large result by its presigned URL, both over HTTP."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from onnxlift.client import Client, Jobs, decode_answer
from onnxlift.local.process import RunningService, running_service
from tests.integration.conftest import write_config
from tests.support import builders

WITHIN_S = 180


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("uploads")
    builders.write_artifact(folder / "artifacts", builders.identity("FP32", (-1, -1)), name="echo")
    with running_service(write_config(folder, "echo"), ["--quiet"]) as running:
        yield running


def post_form(service: RunningService, content: bytes, **asked: str) -> tuple[httpx.Response, str]:
    """Ask for a form and send the file with it, as docs/jobs.md shows; returns S3's answer and the
    reference.
    """
    form = httpx.post(f"{service.url}/v2/uploads", json=asked).raise_for_status().json()
    return httpx.post(
        form["url"], data=form["fields"], files={"file": content}, timeout=WITHIN_S
    ), form["upload"]


def submit(service: RunningService, reference: str, shape: tuple[int, ...]) -> str:
    tensor: dict[str, Any] = {
        "name": "x",
        "datatype": "FP32",
        "shape": shape,
        "parameters": {"upload": reference},
    }
    request = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    answer = httpx.post(
        f"{service.url}/v2/models/echo/infer", json=request, headers={"prefer": "respond-async"}
    )
    assert answer.status_code == 202, answer.text
    job_id: str = json.loads(answer.text)["id"]
    return job_id


def test_20_mb_go_up_by_the_form_and_come_back_by_a_redirect(service: RunningService) -> None:
    array = np.random.default_rng(0).random((1, 5_000_000), dtype=np.float32)
    checksum = hashlib.sha256(array.tobytes()).hexdigest()

    uploaded, reference = post_form(service, array.tobytes(), sha256=checksum)
    with Client(service.url) as opened:
        record = Jobs(opened).wait(submit(service, reference, array.shape), WITHIN_S)
    redirect = httpx.get(f"{service.url}/v2/jobs/{record.id}/result")
    result = httpx.get(redirect.headers["location"], timeout=WITHIN_S)

    assert uploaded.is_success
    assert record.status == "SUCCEEDED"
    assert redirect.status_code == 303
    (found,) = decode_answer(result.content, redirect.headers).outputs.values()
    assert np.array_equal(found, array)


def test_the_client_follows_the_redirect(service: RunningService) -> None:
    array = np.ones((1, 5_000_000), np.float32)

    _, reference = post_form(service, array.tobytes())
    with Client(service.url) as opened:
        jobs = Jobs(opened)
        record = jobs.wait(submit(service, reference, array.shape), WITHIN_S)
        (found,) = jobs.result(record.id).outputs.values()

    assert np.array_equal(found, array)
