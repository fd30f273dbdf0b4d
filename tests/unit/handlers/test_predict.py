"""The predict function from event to answer: every transport, and no event that it does not
answer.
"""

import base64
import gzip
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import predict
from onnxlift_runtime.http.message import JSON, Request, Response
from onnxlift_runtime.protocols.oip import HEADER_LENGTH
from onnxlift_runtime.settings import Limits, Settings
from tests.support import builders
from tests.support.errors import missing
from tests.support.runtime import events, serving
from tests.support.runtime.serving import announced, tensor

Event = dict[str, Any]
INFER, PREDICT = "/v2/models/fp32/infer", "/v1/models/fp32:predict"
TRANSPORTS = [events.rest, events.http_api, events.function_url]


def forget() -> None:
    """Let the function start anew."""
    for cached in (predict.settings, predict.engine, predict._routes):
        cached.cache_clear()


def serve(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Let the function find its models below ``root``, as a fresh process would."""
    settings = Settings(models_dir=root, threads=1, log_level="ERROR")
    for name, value in settings.to_env().items():
        patch.setenv(name, value)
    forget()


@pytest.fixture(autouse=True, scope="module")
def _models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    root = tmp_path_factory.mktemp("models")
    serving.write_models(root)
    with pytest.MonkeyPatch.context() as patch:
        serve(root, patch)
        yield
    forget()


def ask(event: Any) -> Response:
    return Response.from_event(json.loads(json.dumps(predict.handler(event, None))))


def infer_body(count: int = 2) -> bytes:
    return json.dumps({"inputs": [tensor("x", "FP32", [1, count], [1.0] * count)]}).encode()


def data_of(response: Response) -> Any:
    return json.loads(response.body)["outputs"][0]["data"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_transport_answers_json(transport: Callable[..., Event]) -> None:
    response = ask(transport("POST", INFER, infer_body(), {"Content-Type": JSON}))

    assert (response.status, response.headers["Content-Type"]) == (200, JSON)
    assert data_of(response) == [1.0, 1.0]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_transport_carries_binary_tensors_both_ways(transport: Callable[..., Event]) -> None:
    blob = np.array([[1.5, -0.0, np.nan]], "<f4").tobytes()
    document = {
        "inputs": [announced("x", "FP32", [1, 3], 12)],
        "parameters": {"binary_data_output": True},
    }
    header = json.dumps(document).encode()

    response = ask(transport("POST", INFER, header + blob, {HEADER_LENGTH: str(len(header))}))

    assert response.body[int(response.headers[HEADER_LENGTH]) :] == blob


def test_an_answer_in_json_stays_text_and_a_binary_one_becomes_base64() -> None:
    text = predict.handler(events.rest("POST", INFER, infer_body()), None)
    raw = predict.handler(events.rest("POST", INFER, bytes(8), {HEADER_LENGTH: "0"}), None)

    assert (text["isBase64Encoded"], raw["isBase64Encoded"]) == (False, True)


def test_a_body_without_content_type_is_read() -> None:
    event = events.http_api("POST", INFER, infer_body())

    assert "content-type" not in event["headers"]
    assert ask(event).status == 200


@pytest.mark.parametrize("name", [HEADER_LENGTH, HEADER_LENGTH.lower(), HEADER_LENGTH.upper()])
def test_header_names_count_in_any_case(name: str) -> None:
    response = ask(events.rest("POST", INFER, bytes(8), {name: "0"}))

    assert HEADER_LENGTH in response.headers


@pytest.mark.parametrize("stage", ["prod", "v2"])
def test_the_stage_of_an_http_api_is_no_part_of_the_path(stage: str) -> None:
    response = ask(events.http_api("GET", f"/{stage}/v2/health/live", stage=stage))

    assert json.loads(response.body) == {"live": True}


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_compressed_body_inside_base64_is_read(
    encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    event = events.rest("POST", INFER, pack(infer_body()), {"Content-Encoding": encoding.upper()})

    assert event["isBase64Encoded"]
    assert data_of(ask(event)) == [1.0, 1.0]


def test_the_header_length_counts_uncompressed_bytes() -> None:
    header = json.dumps({"inputs": [announced("x", "FP32", [1, 2], 8)]}).encode()
    headers = {"Content-Encoding": "gzip", HEADER_LENGTH: str(len(header))}

    response = ask(events.rest("POST", INFER, gzip.compress(header + bytes(8)), headers))

    assert data_of(response) == [0.0, 0.0]


def test_a_long_answer_is_compressed_where_the_caller_takes_it() -> None:
    event = events.http_api("POST", INFER, infer_body(500), {"Accept-Encoding": "br, gzip;q=0.5"})

    response = ask(event)

    assert (response.headers["Content-Encoding"], response.headers["Vary"]) == (
        "gzip",
        "Accept-Encoding",
    )
    assert json.loads(gzip.decompress(response.body))["outputs"][0]["data"] == [1.0] * 500


def test_an_answer_that_lambda_would_drop_becomes_413() -> None:
    size = Limits().max_answer_bytes // 4
    header = json.dumps(
        {"inputs": [announced("x", "FP32", [1, size // 4 * 2], size // 4 * 8)]}
    ).encode()
    body = gzip.compress(header + np.full(size // 4 * 2, 1 / 3, "<f4").tobytes(), 1)
    headers = {"Content-Encoding": "gzip", HEADER_LENGTH: str(len(header))}

    response = ask(events.http_api("POST", INFER, body, headers))

    assert response.status == 413
    assert missing(json.loads(response.body)["error"], "outputs", Limits().max_answer_bytes) == []


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (events.rest("POST", INFER), 400),
        (events.rest("POST", INFER, b"{"), 400),
        (events.rest("POST", INFER, b'{"inputs":[]}'), 400),
        (events.rest("GET", "/v2/models/absent"), 404),
        (events.rest("GET", "/v2/models/fp32/versions/2"), 404),
        (events.rest("GET", "/nothing"), 404),
        (events.rest("DELETE", INFER), 405),
        (events.rest("POST", INFER, b"a", {"Content-Encoding": "br"}), 415),
        ({**events.rest("POST", INFER), "body": "A" * 7_000_000, "isBase64Encoded": True}, 413),
    ],
)
def test_a_refusal_has_its_status_and_the_one_form(event: Event, status: int) -> None:
    response = ask(event)

    assert response.status == status
    assert list(json.loads(response.body)) == ["error"]


def test_a_refusal_that_repeats_a_huge_name_stays_small() -> None:
    name = '"' * 2_000_000

    response = ask(events.http_api("POST", PREDICT, json.dumps({"inputs": {name: 1}}).encode()))

    assert response.status == 400
    assert len(response.body) < 10_000


@pytest.mark.parametrize("signature", ["\\ud800", "\\udfff\\ud800"])
def test_half_a_character_is_refused(signature: str) -> None:
    body = f'{{"signature_name": "{signature}", "instances": [[NaN]]}}'.encode()

    assert ask(events.http_api("POST", PREDICT, body)).status == 400


def test_a_corrupt_artifact_is_503_with_retry_after_and_its_neighbour_serves(
    tmp_path: Path,
) -> None:
    for name in ("good", "bad"):
        builders.write_artifact(tmp_path, builders.identity(), name=name)
    (tmp_path / "bad" / "1" / "model.onnx").write_bytes(b"torn")
    body = infer_body()

    with pytest.MonkeyPatch.context() as patch:
        serve(tmp_path, patch)
        bad, good = (
            ask(events.rest("POST", f"/v2/models/{name}/infer", body)) for name in ("bad", "good")
        )
        ready = ask(events.rest("GET", "/v2/health/ready"))
        model_ready = ask(events.rest("GET", "/v2/models/bad/ready"))
    forget()

    assert [answer.status for answer in (bad, good, ready, model_ready)] == [503, 200, 503, 503]
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in (bad, ready, model_ready))
    assert json.loads(model_ready.body)["ready"] is False


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.text(max_size=4),
    lambda value: (
        st.lists(value, max_size=2) | st.dictionaries(st.text(max_size=4), value, max_size=2)
    ),
    max_leaves=5,
)
KEYS = [
    "httpMethod",
    "path",
    "rawPath",
    "headers",
    "multiValueHeaders",
    "body",
    "isBase64Encoded",
    "requestContext",
]


def is_refusal(response: Response) -> bool:
    return 400 <= response.status < 500 and isinstance(json.loads(response.body)["error"], str)


@given(JSON_VALUES | st.dictionaries(st.sampled_from(KEYS), JSON_VALUES))
def test_any_event_is_answered_and_never_with_a_5xx(event: Any) -> None:
    assert is_refusal(ask(event))


@given(st.sampled_from(TRANSPORTS), st.sampled_from(KEYS), JSON_VALUES)
def test_any_part_of_an_event_may_be_anything(
    transport: Callable[..., Event], key: str, value: Any
) -> None:
    response = ask({**transport("POST", INFER, infer_body()), key: value})

    assert response.status == 200 or is_refusal(response)


@given(
    st.sampled_from(
        [
            INFER,
            PREDICT,
            "/v1/models/mlp:classify",
            "/v2/models/bytes/infer",
            "/v2/repository/index",
        ]
    ),
    st.binary(max_size=80) | JSON_VALUES.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(
        st.sampled_from([HEADER_LENGTH, "Content-Encoding", "Accept-Encoding"]), st.text(max_size=6)
    ),
)
def test_any_body_is_answered_and_never_with_a_5xx(
    path: str, body: bytes, headers: dict[str, str]
) -> None:
    response = ask(events.rest("POST", path, body, headers))

    assert response.status == 200 or is_refusal(response)


@given(st.data())
def test_a_mutated_request_is_answered_and_never_with_a_5xx(data: st.DataObject) -> None:
    body = bytearray(infer_body())
    start = data.draw(st.integers(0, len(body)))
    body[start : start + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    event = {
        **events.rest("POST", INFER),
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }

    response = ask(event)

    assert response.status == 200 or is_refusal(response)


@pytest.mark.parametrize(
    ("lambda_api", "opened"), [({"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}, 1), ({}, 0)]
)
def test_models_open_while_lambda_starts_the_function_and_not_on_import(
    lambda_api: dict[str, str], opened: int, tmp_path: Path
) -> None:
    environment = {**os.environ, **Settings(models_dir=tmp_path).to_env(), **lambda_api}
    program = "from handlers import predict; print(predict.engine.cache_info().currsize)"

    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=Path(predict.__file__).parents[1],
        capture_output=True,
        check=True,
        text=True,
    )

    assert done.stdout.splitlines()[-1] == str(opened)


def test_an_event_made_by_the_local_server_is_answered() -> None:
    assert ask(Request("POST", INFER, body=infer_body()).to_event()).status == 200
