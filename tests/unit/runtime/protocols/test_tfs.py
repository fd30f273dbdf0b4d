import base64
import json
import math
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
    ValueOutOfRange,
)
from onnxlift_runtime.http.encoding import encode_json
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.protocols import tfs
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors import arrays as tensors
from onnxlift_runtime.tensors.wire import WireTensor
from tests.support import builders
from tests.support.errors import raises
from tests.support.runtime import strategies

LIMITS = Limits()
ONE = builders.manifest((builders.spec("x", "FP32", (-1, 2)),), name="one")
TEXT = builders.manifest((builders.spec("t", "BYTES", (-1,)),), name="text")
PAIR = builders.manifest(
    (builders.spec("a", "FP32", (-1, 2)), builders.spec("b", "BYTES", (-1,))), name="pair"
)


def predict(document: Any, manifest: Manifest = ONE) -> tfs.PredictRequest:
    return tfs.decode_predict(json.dumps(document).encode(), manifest, LIMITS)


def arrays(inputs: tuple[WireTensor, ...]) -> dict[str, Any]:
    return {found.name: tensors.decode(found).tolist() for found in inputs}


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("GET", "/v1/models/m", ("m", None, None, "status")),
        ("GET", "/v1/models/m/versions/12", ("m", "12", None, "status")),
        ("GET", "/v1/models/m/labels/stable", ("m", None, "stable", "status")),
        ("GET", "/v1/models/m/metadata", ("m", None, None, "metadata")),
        ("GET", "/v1/models/m/versions/12/metadata", ("m", "12", None, "metadata")),
        ("POST", "/v1/models/m:predict", ("m", None, None, "predict")),
        ("POST", "/v1/models/m/versions/12:classify", ("m", "12", None, "classify")),
        ("POST", "/v1/models/m/labels/a b:regress", ("m", None, "a b", "regress")),
        ("POST", "/V1/Models/M:PREDICT", ("M", None, None, "predict")),
        ("GET", "/v1/models/versions/metadata", ("versions", None, None, "metadata")),
    ],
)
def test_a_path_names_model_version_label_and_verb(
    method: str, path: str, target: tuple[Any, ...]
) -> None:
    assert tfs.decode_path(method, path) == tfs.Target(*target)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/m/versions/1/labels/stable:predict"),
        ("GET", "/v1/models/m:predict"),
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m/metadata"),
        ("POST", "/v1/models/m:explain"),
        ("POST", "/v1/models/m:predict/"),
        ("GET", "/v1/models/m/versions/one"),
        ("GET", "/v1/models/m/versions/"),
        ("GET", "/v1/models/a/b"),
    ],
)
def test_any_other_path_is_a_malformed_request(method: str, path: str) -> None:
    with raises(MalformedRequest, f"Malformed request: {method} {path}"):
        tfs.decode_path(method, path)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/models/:predict"), ("GET", "/v1/models//metadata")]
)
def test_a_path_without_a_model_says_so(method: str, path: str) -> None:
    with raises(MalformedRequest, "Missing model name in request."):
        tfs.decode_path(method, path)


@pytest.mark.parametrize(
    "document", [{}, {"instances": [[1, 2]], "inputs": [[1, 2]]}, {"signature_name": ""}]
)
def test_a_request_has_exactly_one_of_the_two_layouts(document: Any) -> None:
    with raises(MalformedRequest, "expecting only one of 'inputs' or 'instances'"):
        predict(document)


def test_other_members_of_a_request_are_ignored() -> None:
    assert arrays(predict({"instances": [[1, 2]], "more": 1}).inputs) == {"x": [[1, 2]]}


@pytest.mark.parametrize("name", ["", "serving_default"])
def test_the_one_signature_may_be_named(name: str) -> None:
    assert predict({"signature_name": name, "instances": [[1, 2]]}).row


@pytest.mark.parametrize("name", ["other", None, 1])
def test_another_signature_is_refused(name: Any) -> None:
    with pytest.raises(MalformedRequest) as caught:
        predict({"signature_name": name, "instances": [[1, 2]]})

    assert "signature" in str(caught.value)


@pytest.mark.parametrize(
    "document", [{"instances": []}, {"instances": {}}, {"instances": 1}, {"instances": None}]
)
def test_instances_that_are_no_filled_list_are_refused(document: Any) -> None:
    with raises(MalformedRequest, "'instances'"):
        predict(document)


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [[1, 2], [3, 4]]},
        {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]},
        {"inputs": [[1, 2], [3, 4]]},
        {"inputs": {"x": [[1, 2], [3, 4]]}},
    ],
)
def test_a_single_input_may_be_named_or_not(document: Any) -> None:
    assert arrays(predict(document).inputs) == {"x": [[1, 2], [3, 4]]}


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [{"a": [1, 2], "b": "t"}, {"b": "u", "a": [3, 4]}]},
        {"inputs": {"a": [[1, 2], [3, 4]], "b": ["t", "u"]}},
    ],
)
def test_several_inputs_go_by_their_names(document: Any) -> None:
    assert arrays(predict(document, PAIR).inputs) == {"a": [[1, 2], [3, 4]], "b": [b"t", b"u"]}


@pytest.mark.parametrize(
    ("document", "data"),
    [
        (
            {"instances": [[1, 2]]},
            ("'pair'", "'a', 'b'"),
        ),
        ({"instances": [{"a": [1, 2]}]}, ("'b'",)),
        ({"instances": [{"a": [1, 2], "b": "t", "c": 1}]}, ("'c'",)),
        ({"instances": [{"a": [1, 2], "b": "t"}, 7]}, ("'instances'", "mixes")),
        ({"inputs": {"a": [[1, 2]]}}, ("'b'",)),
        ({"inputs": {"a": [[1, 2]], "b": ["t", "u"]}}, ("batch sizes",)),
    ],
)
def test_names_that_do_not_fit_are_refused(document: Any, data: tuple[object, ...]) -> None:
    with raises((InputMismatch, MalformedRequest), *data):
        predict(document, PAIR)


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({"instances": [[1, 2], [3]]}, ShapeMismatch),
        ({"instances": [[1, 2, 3]]}, ShapeMismatch),
        ({"instances": [1, 2]}, ShapeMismatch),
        ({"instances": [["a", "b"]]}, DatatypeMismatch),
        ({"instances": [[True, False]]}, DatatypeMismatch),
        ({"instances": [[{"b64": "AA=="}, 1]]}, DatatypeMismatch),
        ({"instances": [[1e39, 0]]}, ValueOutOfRange),
        ({"instances": [[10**400, math.nan]]}, ValueOutOfRange),
    ],
)
def test_values_that_do_not_fit_are_refused(document: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        arrays(predict(document).inputs)


def test_bare_nan_and_infinity_are_values() -> None:
    array = tensors.decode(
        tfs.decode_predict(b'{"instances": [[NaN, -Infinity]]}', ONE, LIMITS).inputs[0]
    )

    assert np.isnan(array[0, 0])
    assert array[0, 1] == -math.inf


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_any_bytes_arrive_as_base64(items: list[bytes]) -> None:
    values = [{"b64": base64.b64encode(item).decode()} for item in items]

    for document in ({"instances": values}, {"inputs": values}, {"inputs": {"t": values}}):
        assert arrays(predict(document, TEXT).inputs) == {"t": items}


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"b64": "%"}, MalformedRequest),
        ({"b64": "é"}, MalformedRequest),
        ({"b64": "AA"}, MalformedRequest),
        ({"b64": 7}, InputMismatch),
        ({"b64": "AA==", "more": ""}, InputMismatch),
    ],
)
def test_a_broken_base64_object_is_refused(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        arrays(predict({"instances": [value]}, TEXT).inputs)


def test_text_nested_deeper_than_any_shape_is_refused_without_descending() -> None:
    body = '{"inputs":["t",' + "[" * 1_000 + "]" * 1_000 + "]}"

    with pytest.raises(ShapeMismatch):
        arrays(tfs.decode_predict(body.encode(), TEXT, LIMITS).inputs)


def outputs(**named: Any) -> list[WireTensor]:
    return [
        tensors.encode(array, name, "BYTES" if array.dtype == object else "FP32", binary=False)
        for name, array in named.items()
    ]


def test_one_output_goes_back_without_its_name() -> None:
    array = np.array([[1, 2]], np.float32)

    assert tfs.encode_predict(outputs(y=array), row=True)["predictions"].tolist() == [[1, 2]]
    assert tfs.encode_predict(outputs(y=array), row=False)["outputs"].tolist() == [[1, 2]]


def test_several_outputs_go_back_by_name() -> None:
    found = outputs(y=np.array([1, 2], np.float32), z=np.array([[3], [4]], np.float32))

    assert tfs.encode_predict(found, row=True) == {
        "predictions": [{"y": 1, "z": [3]}, {"y": 2, "z": [4]}]
    }
    assert list(tfs.encode_predict(found, row=False)["outputs"]) == ["y", "z"]


def test_rows_of_unequal_batches_are_refused_and_columns_are_not() -> None:
    found = outputs(y=np.zeros(2, np.float32), z=np.zeros(3, np.float32))

    assert len(tfs.encode_predict(found, row=False)["outputs"]) == 2
    with raises(
        ShapeMismatch,
        "Tensor name: z has inconsistent batch size: 3 expecting batch size: 2",
    ):
        tfs.encode_predict(found, row=True)


def test_a_scalar_has_no_rows_and_goes_back_as_a_column() -> None:
    found = outputs(y=np.float32(7).reshape(()))

    assert tfs.encode_predict(found, row=False) == {"outputs": 7}
    with raises(ShapeMismatch, "Tensor name: y has no shape information"):
        tfs.encode_predict(found, row=True)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_outputs_whose_name_ends_in_bytes_are_base64(shape: tuple[int, ...]) -> None:
    found = tfs.encode_predict(
        outputs(image_bytes=strategies.object_array([b"ab"], shape)), row=False
    )["outputs"]

    expected: Any = {"b64": "YWI="}
    for _ in shape:
        expected = [expected]
    assert found == expected


@given(st.data())
def test_any_finite_array_survives_both_layouts(data: st.DataObject) -> None:
    found, array = data.draw(
        strategies.tensors(finite=True, text=True).filter(lambda drawn: 0 not in drawn[1].shape)
    )
    manifest = builders.manifest((builders.spec("x", found.name, array.shape),), max_batch_size=0)
    document = json.loads(tensors_json(array, found.name))

    column = tfs.decode_predict(json.dumps({"inputs": document}).encode(), manifest, LIMITS)
    assert np.array_equal(tensors.decode(column.inputs[0]), array)
    if array.ndim:
        row = tfs.decode_predict(json.dumps({"instances": document}).encode(), manifest, LIMITS)
        assert np.array_equal(tensors.decode(row.inputs[0]), array)


def tensors_json(array: Any, name: str) -> bytes:
    return encode_json(
        tfs.encode_predict([tensors.encode(array, "y", name, binary=False)], row=False)["outputs"]
    )
