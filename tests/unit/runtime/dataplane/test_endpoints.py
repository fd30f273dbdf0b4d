"""Both protocols against real sessions: the corners in which implementations tend to go wrong have
a test each.
"""

import json
import struct
from typing import Any

import numpy as np
import pytest

from onnxlift_runtime.errors import (
    DatatypeMismatch,
    InputMismatch,
    MalformedRequest,
    MethodNotAllowed,
    ModelNotFound,
    OnnxliftError,
    PathNotFound,
    ShapeMismatch,
    VersionNotFound,
)
from onnxlift_runtime.http.message import JSON, OCTET_STREAM, Request, Response, dispatch
from onnxlift_runtime.protocols.oip import HEADER_LENGTH
from tests.support.errors import raises
from tests.support.runtime.serving import LABELS, Service, announced, tensor

ROW = [0.5] * 16


def split(response: Response) -> tuple[Any, bytes]:
    """The JSON of an answer and the bytes that follow it."""
    length = int(response.headers[HEADER_LENGTH])
    return json.loads(response.body[:length]), response.body[length:]


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_the_server_describes_itself_with_and_without_a_slash(service: Service, path: str) -> None:
    assert service.get(path)["name"] == "onnxlift"


def test_health_is_told_in_json(service: Service) -> None:
    assert service.get("/v2/health/live") == {"live": True}
    assert service.get("/v2/health/ready") == {"ready": True}
    assert service.get("/v2/models/mlp/versions/1/ready") == {"name": "mlp", "ready": True}


@pytest.mark.parametrize("path", ["/v2/models", "/v2/models/", "/v1/models", "/v1/models/"])
def test_models_are_listed(service: Service, path: str) -> None:
    assert {"mlp", "pair", "fp32"} <= set(service.get(path)["models"])


def test_metadata_name_every_version_and_the_configuration_is_there(service: Service) -> None:
    assert service.get("/v2/models/mlp")["versions"] == ["1", "10"]
    assert service.get("/v2/models/mlp/versions/10/config")["max_batch_size"] == 256


@pytest.mark.parametrize(
    ("body", "count"), [(b"", 2), (b" ", 2), (b"{}", 2), (b'{"ready":true}', 2)]
)
def test_the_index_takes_an_optional_filter(service: Service, body: bytes, count: int) -> None:
    index = json.loads(service.post("/v2/repository/index", body).body)

    assert len([entry for entry in index if entry["name"] == "mlp"]) == count


@pytest.mark.parametrize("ready", ["1", '"true"', "null", "[]"])
def test_the_index_refuses_a_filter_that_is_no_boolean(service: Service, ready: str) -> None:
    with pytest.raises(MalformedRequest, match="'ready'"):
        service.post("/v2/repository/index", f'{{"ready":{ready}}}'.encode())


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", "/v2/models/absent", ModelNotFound),
        ("GET", "/v2/models/MLP", ModelNotFound),
        ("GET", "/v2/models/mlp/versions/2", VersionNotFound),
        ("GET", "/v2/models/mlp/versions/v1/ready", VersionNotFound),
        ("GET", "/v2/nothing", PathNotFound),
        ("GET", "/v2/models/mlp/infer", MethodNotAllowed),
        ("POST", "/v2/health/live", MethodNotAllowed),
        ("PUT", "/v1/models/mlp:predict", MethodNotAllowed),
        ("GET", "/v1/models/mlp/labels/new", VersionNotFound),
        ("POST", "/v1/models/mlp/versions/1/labels/stable:predict", MalformedRequest),
        ("POST", "/v1/models/mlp:explain", MalformedRequest),
    ],
)
def test_what_does_not_exist_is_told_by_its_kind(
    service: Service, method: str, path: str, error: type[OnnxliftError]
) -> None:
    with pytest.raises(error):
        dispatch(service.table, Request(method, path))


def test_an_id_comes_back_and_no_id_stays_away(service: Service) -> None:
    assert service.infer("fp32", tensor("x", "FP32", [1, 1], [1]), id="é 7")["id"] == "é 7"
    assert "id" not in service.infer("fp32", tensor("x", "FP32", [1, 1], [1]))


def test_the_version_answers_as_text_and_with_its_own_weights(service: Service) -> None:
    newest, first = (
        service.infer(name, tensor("x", "FP32", [1, 16], ROW)) for name in ("mlp", "mlp/versions/1")
    )

    assert (newest["model_version"], first["model_version"]) == ("10", "1")
    assert newest["outputs"] != first["outputs"]


def test_output_data_are_flat(service: Service) -> None:
    output = service.infer("fp32", tensor("x", "FP32", [2, 2], [[1, 2], [3, 4]]))["outputs"][0]

    assert output == {
        "name": "y",
        "datatype": "FP32",
        "shape": [2, 2],
        "data": [1.0, 2.0, 3.0, 4.0],
    }


@pytest.mark.parametrize(
    ("name", "data"), [("FP32", 1.5), ("BF16", 1.5), ("BYTES", "é"), ("BOOL", True)]
)
def test_a_scalar_has_shape_empty_and_one_element(service: Service, name: str, data: Any) -> None:
    output = service.infer(f"{name.lower()}-scalar", tensor("x", name, [], [data]))["outputs"][0]

    assert (output["shape"], output["data"]) == ([], [data])


@pytest.mark.parametrize("name", ["FP32", "INT64", "BOOL", "BYTES", "BF16"])
def test_an_empty_tensor_goes_through(service: Service, name: str) -> None:
    output = service.infer(name.lower(), tensor("x", name, [0, 3], []))["outputs"][0]

    assert (output["shape"], output["data"]) == ([0, 3], [])


def test_an_empty_binary_output_has_no_header_length_and_is_json(service: Service) -> None:
    document = {
        "inputs": [announced("x", "FP32", [0, 3], 0)],
        "parameters": {"binary_data_output": True},
    }

    response = service.infer_binary("fp32", document, b"")

    output = json.loads(response.body)["outputs"][0]
    assert response.headers["Content-Type"] == JSON
    assert HEADER_LENGTH not in response.headers
    assert output == {
        "name": "y",
        "datatype": "FP32",
        "shape": [0, 3],
        "parameters": {"binary_data_size": 0},
    }


def test_a_binary_answer_tells_the_length_of_its_json(service: Service) -> None:
    document = {
        "inputs": [announced("x", "FP32", [1, 2], 8)],
        "parameters": {"binary_data_output": True},
    }
    blob = np.array([1.5, np.nan], "<f4").tobytes()

    response = service.infer_binary("fp32", document, blob)

    answer, rest = split(response)
    assert response.headers["Content-Type"] == OCTET_STREAM
    assert answer["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert rest == blob


def test_a_header_length_of_0_takes_the_body_as_the_one_input(service: Service) -> None:
    blob = np.array([1, 2, 3], "<f4").tobytes()

    answer, rest = split(service.post("/v2/models/fp32/infer", blob, {HEADER_LENGTH.lower(): "0"}))

    assert (answer["outputs"][0]["shape"], rest) == ([1, 3], blob)


def test_binary_and_json_mix_in_both_directions(service: Service) -> None:
    document = {
        "inputs": [announced("b", "BYTES", [1, 1], 7), tensor("a", "FP32", [1, 2], [1, 2])],
        "outputs": [{"name": "a_out", "parameters": {"binary_data": True}}, {"name": "b_out"}],
    }

    answer, rest = split(service.infer_binary("pair", document, b"\x03\x00\x00\x00a\x00b"))

    assert answer["outputs"][1] == {
        "name": "b_out",
        "datatype": "BYTES",
        "shape": [1, 1],
        "data": ["a\x00b"],
    }
    assert rest == struct.pack("<2f", 1, 2)


def test_bytes_that_are_no_utf8_are_refused_by_name(service: Service) -> None:
    document = {"inputs": [announced("x", "BYTES", [1, 1], 6)]}

    with raises(DatatypeMismatch, "'x'", "UTF-8"):
        service.infer_binary("bytes", document, b"\x02\x00\x00\x00\xff\xfe")


def test_an_input_given_twice_is_refused(service: Service) -> None:
    entry = tensor("x", "FP32", [1, 1], [1])

    with raises(InputMismatch, "'x'", 2):
        service.infer("fp32", entry, entry)


def test_whole_numbers_above_2_to_53_are_exact_in_both_directions(service: Service) -> None:
    values = [2**64 - 1, 2**53 + 1]

    assert (
        service.infer("uint64", tensor("x", "UINT64", [1, 2], values))["outputs"][0]["data"]
        == values
    )
    assert service.call("/v1/models/uint64:predict", {"instances": [values]}) == {
        "predictions": [values]
    }


def test_nan_is_null_in_v2_in_both_directions(service: Service) -> None:
    response = service.post(
        "/v2/models/fp16/infer",
        b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP16","data":[null,1]}]}',
    )

    assert b'"data":[null,1.0]' in response.body


@pytest.mark.parametrize("name", ["fp16", "fp32", "fp64", "bf16"])
def test_nan_and_infinity_are_bare_words_in_v1_in_both_directions(
    service: Service, name: str
) -> None:
    body = service.post(
        f"/v1/models/{name}:predict", b'{"instances":[[NaN,Infinity,-Infinity,0.5]]}'
    ).body

    assert body == b'{"predictions":[[NaN,Infinity,-Infinity,0.5]]}'


def test_short_floats_stay_short_beside_nan(service: Service) -> None:
    body = service.post("/v1/models/fp32:predict", b'{"inputs":[[NaN,0.1]]}').body

    assert body == b'{"outputs":[[NaN,0.1]]}'


@pytest.mark.parametrize(
    ("name", "value"), [("fp32", 1.5), ("bytes", "é"), ("bool", True), ("bf16", -2.0)]
)
def test_a_scalar_is_a_column_without_brackets(service: Service, name: str, value: Any) -> None:
    assert service.call(f"/v1/models/{name}-scalar:predict", {"inputs": value}) == {
        "outputs": value
    }


def test_no_instances_are_refused(service: Service) -> None:
    with raises(MalformedRequest, "'instances'", "empty"):
        service.call("/v1/models/fp32:predict", {"instances": []})


def test_rows_of_unequal_batches_are_refused_and_columns_are_not(service: Service) -> None:
    with raises(ShapeMismatch, "Tensor name: twice has inconsistent batch size: 2"):
        service.call("/v1/models/uneven:predict", {"instances": [[1, 2]]})

    columns = service.call("/v1/models/uneven:predict", {"inputs": [[1, 2]]})["outputs"]
    assert columns == {"same": [[1, 2]], "twice": [[1, 2], [1, 2]]}


def test_several_outputs_come_row_by_row(service: Service) -> None:
    rows = [{"a": [1, 2], "b": ["t"]}, {"a": [3, 4], "b": ["u"]}]

    answer = service.call("/v1/models/pair:predict", {"instances": rows})

    assert answer["predictions"] == [
        {"a_out": [1, 2], "b_out": ["t"]},
        {"a_out": [3, 4], "b_out": ["u"]},
    ]


def test_bytes_outputs_are_base64_where_their_name_says_so(service: Service) -> None:
    answer = service.call("/v1/models/image:predict", {"instances": [[{"b64": "YQBi"}]]})

    assert answer == {"predictions": [[{"b64": "YQBi"}]]}


@pytest.mark.parametrize("path", ["/v1/models/mlp:PREDICT", "/V1/Models/mlp:Predict"])
def test_paths_of_v1_match_in_any_case(service: Service, path: str) -> None:
    assert len(service.call(path, {"instances": [ROW]})["predictions"][0]) == len(LABELS)


def test_a_label_leads_to_its_version(service: Service) -> None:
    labelled, first = (
        service.call(f"/v1/models/mlp/{which}:predict", {"instances": [ROW]})
        for which in ("labels/stable", "versions/1")
    )

    assert labelled == first
    assert service.get("/v1/models/mlp/labels/stable")["model_version_status"][0]["version"] == "1"


def test_the_status_without_a_version_has_every_version_as_text(service: Service) -> None:
    status = service.get("/v1/models/mlp")["model_version_status"]

    assert [entry["version"] for entry in status] == ["1", "10"]
    assert service.get("/v1/models/mlp/metadata")["model_spec"]["version"] == "10"


def test_classify_and_regress_answer_under_results(service: Service) -> None:
    classified = service.call("/v1/models/mlp:classify", {"examples": [{"x": ROW}, {"x": ROW}]})
    regressed = service.call(
        "/v1/models/regressor:regress", {"context": {"x": [1, 2, 3, 4]}, "examples": [{}]}
    )

    assert [[label for label, _ in row] for row in classified["results"]] == [list(LABELS)] * 2
    assert list(regressed) == ["results"]
    assert len(regressed["results"]) == 1


def test_scores_have_the_digits_of_predict(service: Service) -> None:
    scores = service.call("/v1/models/mlp:predict", {"instances": [ROW]})["predictions"][0]

    classified = service.call("/v1/models/mlp:classify", {"examples": [{"x": ROW}]})

    assert [score for _, score in classified["results"][0]] == scores


@pytest.mark.parametrize("binary", [True, False])
def test_classification_gives_the_best_classes_as_bytes(service: Service, binary: bool) -> None:
    wanted = {"name": "probabilities", "parameters": {"classification": 2, "binary_data": binary}}

    response = service.post(
        "/v2/models/mlp/infer",
        json.dumps({"inputs": [tensor("x", "FP32", [1, 16], ROW)], "outputs": [wanted]}).encode(),
    )

    output = (split(response)[0] if binary else json.loads(response.body))["outputs"][0]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 2])


def test_classification_of_an_empty_batch_is_empty(service: Service) -> None:
    outputs = [{"name": "probabilities", "parameters": {"classification": 2}}]

    answer = service.infer("mlp", tensor("x", "FP32", [0, 16], []), outputs=outputs)

    assert answer["outputs"][0] == {
        "name": "probabilities",
        "datatype": "BYTES",
        "shape": [0, 2],
        "data": [],
    }


def test_an_index_out_of_range_inside_the_graph_is_the_callers_error(service: Service) -> None:
    with raises(InputMismatch, "idx=3"):
        service.infer("gather", tensor("x", "INT64", [1], [3]))
