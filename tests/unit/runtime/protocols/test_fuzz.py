"""Whatever bytes come in, both protocols read them or refuse them with the caller's error, and with
nothing else.
"""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.errors import OnnxliftError
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.protocols import oip, tfs
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors import arrays
from onnxlift_runtime.tensors.wire import WireTensor
from tests.support import builders
from tests.support.runtime.serving import announced, tensor

LIMITS = Limits()
ONE = builders.manifest((builders.spec("x", "FP32", (-1, 2)),), name="one")
TEXT = builders.manifest((builders.spec("t", "BYTES", (-1,)),), name="text")
PAIR = builders.manifest(
    (builders.spec("a", "FP32", (-1, 2)), builders.spec("b", "BYTES", (-1,))), name="pair"
)
X = tensor("x", "FP32", [1, 2], [1, 2])
VALID = json.dumps(
    {"id": "a", "inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
)
SPLICES = st.binary(max_size=4) | st.sampled_from(
    [b"null", b"-1", b"[]", b"{}", b'""', b"1e9", b"NaN", b'"\\ud800"']
)
NAMES = st.sampled_from(["b64", "x", "a", "b", "t", "data"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["x", "FP32"]),
    lambda value: st.lists(value, max_size=3) | st.dictionaries(NAMES, value, max_size=2),
    max_leaves=8,
)


# What may become of a request, as HTTP tells it: 5xx would blame the service.
FINE = {200, *range(400, 500)}


def outcome(read: Callable[[], tuple[WireTensor, ...]]) -> int:
    """Decode all the way to arrays; the status of the answer."""
    try:
        for found in read():
            assert arrays.decode(found).shape == found.shape
    except OnnxliftError as error:
        return error.status
    return 200


def infer_outcome(body: bytes, header_length: str | None, manifest: Manifest) -> int:
    return outcome(lambda: oip.decode_infer(body, header_length, manifest, LIMITS).inputs)


@given(st.binary(max_size=100), st.none() | st.integers(-2, 110).map(str) | st.text(max_size=5))
def test_garbage_for_infer_is_refused_with_a_4xx(body: bytes, header_length: str | None) -> None:
    assert infer_outcome(body, header_length, ONE) in FINE


@given(st.data())
def test_a_mutated_infer_request_is_read_or_refused_with_a_4xx(data: st.DataObject) -> None:
    body = bytearray(VALID.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(start + 8, len(body))))
        body[start:end] = data.draw(SPLICES)

    assert (
        infer_outcome(bytes(body), data.draw(st.none() | st.integers(0, len(body)).map(str)), ONE)
        in FINE
    )


@given(st.sampled_from(["name", "shape", "datatype", "data", "parameters"]), VALUES)
def test_any_value_of_an_input_member_is_read_or_refused_with_a_4xx(
    member: str, value: Any
) -> None:
    assert infer_outcome(json.dumps({"inputs": [{**X, member: value}]}).encode(), None, ONE) in FINE


@given(st.binary(max_size=24), st.integers(0, 30), st.lists(st.integers(0, 3), max_size=2))
def test_any_blob_is_read_or_refused_with_a_4xx(blob: bytes, size: int, shape: list[int]) -> None:
    header = json.dumps({"inputs": [announced("z", "BYTES", shape, size)]}).encode()
    manifest = builders.manifest(
        (builders.spec("z", "BYTES", [-1] * len(shape)),), max_batch_size=0
    )

    assert infer_outcome(header + blob, str(len(header)), manifest) in FINE


@given(st.sampled_from([ONE, TEXT, PAIR]), st.sampled_from(["instances", "inputs"]), VALUES)
def test_any_value_to_predict_is_read_or_refused_with_a_4xx(
    manifest: Manifest, layout: str, value: Any
) -> None:
    body = json.dumps({layout: value}).encode()

    assert outcome(lambda: tfs.decode_predict(body, manifest, LIMITS).inputs) in FINE


@given(st.sampled_from([ONE, TEXT, PAIR]), VALUES, VALUES)
def test_any_examples_are_read_or_refused_with_a_4xx(
    manifest: Manifest, context: Any, value: Any
) -> None:
    body = json.dumps({"context": context, "examples": value}).encode()

    assert outcome(lambda: tfs.decode_examples(body, manifest, LIMITS)) in FINE


@given(st.binary(max_size=60))
def test_garbage_for_predict_is_refused_with_a_4xx(body: bytes) -> None:
    assert outcome(lambda: tfs.decode_predict(body, PAIR, LIMITS).inputs) in FINE
    assert outcome(lambda: tfs.decode_examples(body, PAIR, LIMITS)) in FINE


@given(st.data())
def test_a_mutated_predict_request_is_read_or_refused_with_a_4xx(data: st.DataObject) -> None:
    body = bytearray(b'{"instances": [{"a": [1.0, NaN], "b": {"b64": "AA=="}}]}')
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        body[start : data.draw(st.integers(start, min(start + 8, len(body))))] = data.draw(SPLICES)

    assert outcome(lambda: tfs.decode_predict(bytes(body), PAIR, LIMITS).inputs) in FINE
