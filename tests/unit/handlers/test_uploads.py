"""Inputs and results that are too large for one request or one item."""

import base64
import hashlib
import json
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from onnxlift_runtime.http.message import HEADER_LENGTH
from tests.unit.handlers.conftest import INFER, Deployed, body, data_of, error_of

MIB = 1024 * 1024


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
        "POST",
        INFER,
        named(upload(deployed, array.tobytes()), *array.shape),
        prefer="respond-async",
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


@pytest.mark.parametrize(
    "encode", [lambda digest: digest.hex(), lambda digest: base64.b64encode(digest).decode()]
)
def test_an_upload_form_is_bound_in_size_and_checksum(deployed: Deployed, encode: Any) -> None:
    digest = hashlib.sha256(b"x").digest()

    form = json.loads(
        deployed.call("POST", "/v2/uploads", json.dumps({"sha256": encode(digest)}).encode()).body
    )

    assert form["max_bytes"] == 64 * MIB
    assert form["fields"]["x-amz-checksum-algorithm"] == "SHA256"
    assert form["fields"]["key"] == form["upload"]
    assert form["url"] == "https://data.s3.eu-central-1.amazonaws.com/"


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b'{"sha256": 1}', b'{"sha256": "abc"}', b'{"sha256": "YWJj"}']
)
def test_an_upload_with_a_checksum_that_is_none_is_refused(deployed: Deployed, text: bytes) -> None:
    assert deployed.call("POST", "/v2/uploads", text).status == 400
