"""The client against a service made of one function."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from onnxlift.client import Client, Jobs
from onnxlift_runtime.errors import ConfigInvalid, InputMismatch, ServiceRefused, ServiceUnreachable
from tests.support.errors import raises

Answerer = Callable[[httpx.Request], httpx.Response]
METADATA = {
    "name": "tiny",
    "versions": ["1", "2"],
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}
ROW = np.array([[1, 2]], dtype=np.float32)


def _client(answer: Answerer, **options: Any) -> Client:
    return Client("http://service/live/", transport=httpx.MockTransport(answer), **options)


def _json(document: Any, status: int = 200) -> Answerer:
    return lambda _request: httpx.Response(status, json=document)


def test_metadata_is_read_below_the_base_path() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=METADATA)

    metadata = _client(answer, api_key="secret").metadata("tiny", "2")

    assert str(asked[0].url) == "http://service/live/v2/models/tiny/versions/2"
    assert asked[0].headers["x-api-key"] == "secret"
    assert (metadata.versions, metadata.input("x").shape) == (("1", "2"), (-1, 2))


def test_an_unknown_input_lists_the_known_ones() -> None:
    metadata = _client(_json(METADATA)).metadata("tiny")

    with raises(InputMismatch, "'z'", "'x'"):
        metadata.input("z")


@pytest.mark.parametrize("binary", [True, False])
def test_infer_reads_both_forms_of_answers(binary: bool) -> None:
    output: dict[str, Any] = {"name": "y", "datatype": "FP32", "shape": [1, 2]}
    blob = ROW.tobytes() if binary else b""
    output |= {"parameters": {"binary_data_size": len(blob)}} if binary else {"data": [1, 2]}
    head = json.dumps({"model_name": "tiny", "model_version": "1", "outputs": [output]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if binary else {}

    client = _client(lambda _request: httpx.Response(200, content=head + blob, headers=headers))
    answer = client.infer("tiny", {"x": ("FP32", ROW)}, binary=binary)

    np.testing.assert_array_equal(answer.outputs["y"], ROW)
    assert (answer.model, answer.version, answer.datatypes) == ("tiny", "1", {"y": "FP32"})


def test_infer_sends_raw_tensors_after_the_json() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"model_name": "tiny", "outputs": []})

    _client(answer).infer("tiny", {"x": ("FP32", ROW)}, classes={"y": 3})

    length = int(asked[0].headers["Inference-Header-Content-Length"])
    document = json.loads(asked[0].content[:length])
    assert asked[0].content[length:] == ROW.tobytes()
    assert document["outputs"] == [{"name": "y", "parameters": {"classification": 3}}]


def test_classes_are_read_with_score_index_and_label() -> None:
    output = {"name": "y", "datatype": "BYTES", "shape": [1, 2], "data": ["0.5:3:a:b", "0.25:1"]}

    answer = _client(_json({"model_name": "tiny", "outputs": [output]})).infer(
        "tiny", {"x": ("FP32", ROW)}
    )

    first, second = answer.classes("y")[0]
    assert (first.score, first.index, first.label) == (0.5, 3, "a:b")
    assert (second.score, second.index, second.label) == (0.25, 1, "")


def test_predict_returns_the_predictions() -> None:
    assert _client(_json({"predictions": [[1.0]]})).predict("tiny", ROW) == [[1.0]]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"error":"model \'tiny\' does not exist"}', "model 'tiny' does not exist"),
        (b'{"message":"Forbidden"}', "Forbidden"),
        (b"<html>", "<html>"),
        (b"", "Not Found"),
    ],
)
def test_an_error_is_told_in_the_services_own_words(body: bytes, told: str) -> None:
    client = _client(lambda _request: httpx.Response(404, content=body))

    with raises(ServiceRefused, told) as caught:
        client.metadata("tiny")

    assert caught.value.answered == 404


@pytest.mark.parametrize(
    "document", [[], {}, {"name": "x"}, {"name": "x", "inputs": [1], "outputs": []}]
)
def test_metadata_of_a_foreign_server_is_refused(document: Any) -> None:
    with pytest.raises(ServiceUnreachable):
        _client(_json(document)).metadata("tiny")


@pytest.mark.parametrize(
    "output",
    [
        {"name": "y", "datatype": "FP31", "shape": [1], "data": [1]},
        {"name": "y", "datatype": "FP32", "shape": [2], "data": [1]},
        {"name": "y"},
        "text",
        {"name": "y", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}},
    ],
)
def test_an_answer_that_breaks_the_protocol_is_refused(output: Any) -> None:
    with raises(ServiceUnreachable, "Open Inference Protocol"):
        _client(_json({"model_name": "tiny", "outputs": [output]})).infer(
            "tiny", {"x": ("FP32", ROW)}
        )


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (httpx.ConnectError("refused"), "refused"),
        (httpx.ReadTimeout(""), "ReadTimeout"),
    ],
)
def test_a_server_that_is_not_there_is_told_with_its_url(error: Exception, why: str) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        raise error

    with raises(ServiceUnreachable, "http://service/live", why):
        _client(answer).models()


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(ServiceUnreachable), Client("no url") as client:
        client.ready()


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines"])
def test_a_key_that_no_header_carries_is_refused_without_telling_it(key: str) -> None:
    with raises(ConfigInvalid, "ASCII") as told:
        _client(_json({}), api_key=key)

    assert key not in str(told.value)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.models(),
        lambda client: client.predict("tiny", ROW),
        lambda client: list(Jobs(client).list()),
        lambda client: Jobs(client).show("one"),
        lambda client: Jobs(client).submit("tiny", {"x": ("FP32", ROW)}),
    ],
)
@pytest.mark.parametrize("document", [{}, {"else": 1}])
def test_an_answer_without_what_was_asked_for_is_refused(
    ask: Callable[[Client], Any], document: Any
) -> None:
    with raises(ServiceUnreachable, "the answer"):
        ask(_client(_json(document)))


def test_ready_and_models_are_asked_for() -> None:
    assert _client(_json({"ready": True})).ready()
    assert not _client(_json({"ready": False}, 503)).ready()
    assert _client(_json({"models": ["a", "b"]})).models() == ("a", "b")
