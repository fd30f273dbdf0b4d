import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.errors import (
    DatatypeMismatch,
    InputMismatch,
    MalformedRequest,
    ShapeMismatch,
)
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.protocols import oip, oip_encoding
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors import arrays
from onnxlift_runtime.tensors.datatypes import Datatype
from onnxlift_runtime.tensors.wire import WireTensor
from tests.support import builders
from tests.support.errors import raises
from tests.support.runtime import strategies
from tests.support.runtime.serving import announced, tensor

LIMITS = Limits()
MODEL = builders.manifest(
    (builders.spec("x", "FP32", (-1, 2)),),
    (builders.spec("y", "FP32", (-1, 2)), builders.spec("z", "BYTES", (-1,))),
    name="m",
)
PAIR = builders.manifest(
    (builders.spec("a", "FP32", (-1, 2)), builders.spec("b", "BYTES", (-1,))), name="pair"
)
X = tensor("x", "FP32", [1, 2], [1, 2])


def decode(document: Any, blob: bytes = b"", manifest: Manifest = MODEL) -> oip.InferRequest:
    header = json.dumps(document).encode()
    return oip.decode_infer(header + blob, str(len(header)) if blob else None, manifest, LIMITS)


def test_a_json_request_is_read() -> None:
    call = decode({"id": "seven", "parameters": {"priority": 1, "note": "n"}, "inputs": [X]})

    assert call.inputs == (WireTensor("x", "FP32", (1, 2), [1, 2]),)
    assert (call.id, call.parameters) == ("seven", {"priority": 1, "note": "n"})
    assert call.outputs == (oip.WantedOutput("y"), oip.WantedOutput("z"))


def test_members_that_typed_clients_write_as_null_count_as_left_out() -> None:
    entry = {**X, "parameters": None}

    call = decode({"id": None, "parameters": None, "inputs": [entry], "outputs": None})

    assert call == decode({"inputs": [X]})


def test_null_data_beside_binary_data_counts_as_left_out() -> None:
    entry = {**announced("x", "FP32", [1, 2], 8), "data": None}

    assert decode({"inputs": [entry]}, bytes(8)).inputs[0].binary


def test_binary_and_json_inputs_mix_in_the_order_of_the_inputs() -> None:
    document = {"inputs": [announced("b", "BYTES", [1], 7), tensor("a", "FP32", [1, 2], [1, 2])]}

    call = decode(document, b"\x03\x00\x00\x00a\x00\xff", PAIR)

    assert [bytes(call.inputs[0].data), call.inputs[1].data] == [
        b"\x03\x00\x00\x00a\x00\xff",
        [1, 2],
    ]


@pytest.mark.parametrize(
    ("parameters", "entry", "binary"),
    [
        ({}, {}, False),
        ({"binary_data_output": True}, {}, True),
        ({"binary_data_output": True}, {"binary_data": False}, False),
        ({"binary_data_output": False}, {"binary_data": True}, True),
    ],
)
def test_an_output_decides_over_the_request_whether_it_is_binary(
    parameters: dict[str, Any], entry: dict[str, Any], binary: bool
) -> None:
    call = decode(
        {"inputs": [X], "parameters": parameters, "outputs": [{"name": "z", "parameters": entry}]}
    )

    assert call.outputs == (oip.WantedOutput("z", binary),)


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ("abc", ("Inference-Header-Content-Length", "abc")),
        ("", ("Inference-Header-Content-Length",)),
        ("1.0", ("Inference-Header-Content-Length", "1.0")),
        ("9" * 30, ("Inference-Header-Content-Length", "9" * 30)),
        ("-1", ("(0, 7)", -1)),
        ("8", ("(0, 7)", 8)),
    ],
)
def test_a_wrong_header_length_is_refused(header: str, data: tuple[object, ...]) -> None:
    with raises(MalformedRequest, *data):
        oip.decode_infer(b'{"a":1}', header, MODEL, LIMITS)


def test_a_header_length_of_0_means_the_body_is_the_one_input() -> None:
    data = np.array([1, 2], "<f4").tobytes()

    call = oip.decode_infer(data, "0", MODEL, LIMITS)

    assert (call.inputs[0].shape, bytes(call.inputs[0].data)) == ((1, 2), data)
    assert all(output.binary for output in call.outputs)


@pytest.mark.parametrize(
    ("spec", "batch", "body", "shape"),
    [
        (("FP32", (-1, -1)), 8, bytes(12), (1, 3)),
        (("FP32", (-1, 3)), 0, bytes(24), (2, 3)),
        (("FP32", (-1, -1)), 8, b"", (1, 0)),
        (("FP64", ()), 0, bytes(8), ()),
        (("BYTES", (-1,)), 8, b"any \x00 bytes", (1,)),
        (("BYTES", (-1, 1)), 8, b"", (1, 1)),
    ],
)
def test_the_shape_of_a_raw_request_follows_from_its_size(
    spec: Any, batch: int, body: bytes, shape: tuple[int, ...]
) -> None:
    manifest = builders.manifest((builders.spec("x", *spec),), max_batch_size=batch)

    found = oip.decode_infer(body, "0", manifest, LIMITS).inputs[0]

    assert found.shape == shape
    assert arrays.decode(found).shape == shape


@pytest.mark.parametrize(
    ("specs", "body", "data"),
    [
        ([("FP32", (-1, 2)), ("FP32", (-1, 2))], b"", ("'tiny'", "one input", 2)),
        ([("FP32", (-1, -1, -1))], bytes(4), (2, "variable")),
        ([("FP32", (-1, -1))], bytes(5), (5, 4)),
        (
            [("FP32", (-1, 2))],
            bytes(12),
            (12, "[1,2]", "FP32", 8),
        ),
        ([("BYTES", (-1, 2))], b"a", ("'x0'", "one BYTES element")),
    ],
)
def test_a_raw_request_that_cannot_be_shaped_is_refused(
    specs: Any, body: bytes, data: tuple[object, ...]
) -> None:
    manifest = builders.manifest(
        [builders.spec(f"x{index}", *spec) for index, spec in enumerate(specs)]
    )

    with raises((MalformedRequest, ShapeMismatch), *data):
        oip.decode_infer(body, "0", manifest, LIMITS)


@pytest.mark.parametrize(
    ("size", "blob", "data"),
    [
        (8, bytes(5), ("unexpected size for input 'x'", 3, "'m'")),
        (8, bytes(9), ("unexpected additional input data", "'m'", 1)),
        (2**63, bytes(8), ("9223372036854775800",)),
        (-1, bytes(8), ("'binary_data_size'", "'x'", -1)),
        ("8", bytes(8), ("string", "whole number")),
        (True, bytes(8), ("boolean", "whole number")),
    ],
)
def test_a_blob_of_another_size_is_refused(
    size: Any, blob: bytes, data: tuple[object, ...]
) -> None:
    with raises(MalformedRequest, *data):
        decode({"inputs": [announced("x", "FP32", [1, 2], size)]}, blob)


@pytest.mark.parametrize(
    ("entry", "error", "data"),
    [
        (
            {**X, "parameters": {"binary_data_size": 8}},
            MalformedRequest,
            ("only one of", "'x'", 2),
        ),
        (
            {"name": "x", "shape": [1, 2], "datatype": "FP32"},
            MalformedRequest,
            ("only one of", 0),
        ),
        ({**X, "data": None}, MalformedRequest, ("only one of", 0)),
        (
            {
                "name": "x",
                "shape": [1, 2],
                "datatype": "FP32",
                "parameters": {"shared_memory_region": "r"},
            },
            MalformedRequest,
            ("shared memory",),
        ),
        (
            {**X, "parameters": {"a": []}},
            MalformedRequest,
            ("'a'", "'x'", "array"),
        ),
        (
            {**X, "data": 1},
            MalformedRequest,
            ("'data'", "'x'", "array"),
        ),
        (
            {**X, "shape": [1, -1]},
            MalformedRequest,
            ("dimension", "'x'", -1),
        ),
        ({**X, "shape": [1, 2.0]}, MalformedRequest, ("dimension", "'x'", "number")),
        ({**X, "shape": [True, 2]}, MalformedRequest, ("dimension", "'x'", "boolean")),
        ({**X, "shape": "[1,2]"}, MalformedRequest, ("'shape'", "'x'", "string")),
        ({**X, "datatype": "fp32"}, DatatypeMismatch, ("'fp32'", "BOOL")),
        ({**X, "datatype": None}, MalformedRequest, ("'datatype'", "'x'", "null")),
        ({**X, "name": 1}, MalformedRequest, ("'name'", "whole number")),
        (7, MalformedRequest, ("object", "whole number")),
    ],
)
def test_a_wrong_input_is_refused(
    entry: Any, error: type[Exception], data: tuple[object, ...]
) -> None:
    with raises(error, *data):
        decode({"inputs": [entry]})


@pytest.mark.parametrize(
    ("more", "data"),
    [
        ({"id": 7}, ("'id'", "whole number", "string")),
        ({"parameters": []}, ("'parameters'", "array")),
        (
            {"parameters": {"binary_data_output": "false"}},
            ("'binary_data_output'", "string", "boolean"),
        ),
        ({"outputs": {}}, ("'outputs'", "object", "array")),
        ({"outputs": ["y"]}, ("output", "string", "object")),
        ({"outputs": [{"name": "w"}]}, ("'w'", "y, z")),
        ({"outputs": [{"name": "y"}, {"name": "y"}]}, ("'y'", 2)),
        (
            {"outputs": [{"name": "y", "parameters": {"classification": -1}}]},
            ("'classification'", -1),
        ),
        (
            {"outputs": [{"name": "y", "parameters": {"classification": 1.5}}]},
            ("'classification'", "number"),
        ),
        (
            {"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
            ("'binary_data'", "boolean"),
        ),
        (
            {"outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]},
            ("shared memory",),
        ),
    ],
)
def test_a_wrong_member_is_refused(more: dict[str, Any], data: tuple[object, ...]) -> None:
    with raises((MalformedRequest, InputMismatch), *data):
        decode({"inputs": [X], **more})


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"7", b'"text"', b"{}", b'{"inputs":null}', b'{"inputs":{}}']
)
def test_a_document_without_inputs_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        oip.decode_infer(body, None, MODEL, LIMITS)


def test_an_answer_has_its_keys_in_the_usual_order() -> None:
    body, json_length = oip_encoding.encode_infer(
        MODEL, "seven", [WireTensor("y", "FP32", (1, 2), np.ones((1, 2), "<f4"))]
    )

    assert json_length is None
    assert body == (
        b'{"id":"seven","model_name":"m","model_version":"1",'
        b'"outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[1.0,1.0]}]}'
    )


@given(st.lists(strategies.tensors(finite=True, text=True), min_size=1, max_size=3), st.data())
def test_any_answer_is_read_back_by_a_client(
    drawn: list[tuple[Datatype, Any]], data: st.DataObject
) -> None:
    outputs = [
        arrays.encode(array, f"o{index}", found.name, binary=data.draw(st.booleans()))
        for index, (found, array) in enumerate(drawn)
    ]

    body, json_length = oip_encoding.encode_infer(MODEL, "", outputs)

    document, offset = json.loads(body[:json_length]), json_length or len(body)
    for entry, (found, array) in zip(document["outputs"], drawn, strict=True):
        size = entry.get("parameters", {}).get("binary_data_size", 0)
        source = entry.get("data", body[offset : offset + size])
        offset += size
        decoded = arrays.decode(
            WireTensor(entry["name"], found.name, tuple(entry["shape"]), source)
        )
        assert decoded.shape == array.shape
        assert np.array_equal(decoded, array)
    assert offset == len(body)


@given(st.lists(strategies.tensors(), min_size=1, max_size=3), st.booleans())
def test_any_request_of_a_client_is_read_back(
    drawn: list[tuple[Datatype, Any]], binary_output: bool
) -> None:
    inputs = [
        arrays.encode(array, f"i{index}", found.name, binary=True)
        for index, (found, array) in enumerate(drawn)
    ]
    manifest = builders.manifest(
        [builders.spec(item.name, item.datatype, item.shape) for item in inputs], max_batch_size=0
    )

    body, header_length = oip_encoding.encode_request(
        inputs, binary_output=binary_output, classes={"y": 2}
    )
    call = oip.decode_infer(body, str(header_length), manifest, LIMITS)

    assert call.outputs == (oip.WantedOutput("y", binary_output, 2),)
    for found, (_, array) in zip(call.inputs, drawn, strict=True):
        assert (
            arrays.decode(found).tobytes() == array.tobytes()
            or arrays.decode(found).tolist() == array.tolist()
        )
