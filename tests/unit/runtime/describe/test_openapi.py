import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate

from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.describe import examples
from onnxlift_runtime.describe.openapi import describe
from onnxlift_runtime.describe.openapi_server import SERVER_TAG
from onnxlift_runtime.manifest import Manifest, TensorSpec
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors.datatypes import DATATYPES
from tests.support import builders

DIGITS = builders.manifest(
    [builders.spec("image", "FP32", (-1, 1, 8, 8))],
    [builders.spec("logits", "FP32", (-1, 10), [str(digit) for digit in range(10)])],
    name="digits",
    version_labels=("stable",),
)
DIGITS_2 = builders.manifest([builders.spec("image", "FP16", (-1, 64))], name="digits", version="2")
PAIR = builders.manifest(
    [builders.spec("ids", "INT64", (-1, -1)), builders.spec("text", "BYTES", (-1,))],
    [builders.spec("mask", "BOOL", (-1, 4)), builders.spec("word", "BYTES", (-1,))],
    name="pair",
)


def described(*manifests: Manifest, api_key_required: bool = False) -> dict[str, Any]:
    return describe(Catalog.of(manifests), title="demo", api_key_required=api_key_required)


def accepts(document: dict[str, Any], schema: str, value: Any) -> bool:
    rooted = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    return bool(OAS30Validator(rooted).is_valid(value))


tensor_specs = st.builds(
    TensorSpec,
    name=st.text(min_size=1, max_size=8),
    datatype=st.sampled_from([datatype.name for datatype in DATATYPES]),
    shape=st.lists(st.sampled_from([-1, 0, 1, 3]), max_size=4).map(tuple),
)
tensor_lists = st.lists(tensor_specs, min_size=1, max_size=3, unique_by=lambda spec: spec.name)


def batches(specs: list[TensorSpec]) -> list[TensorSpec]:
    return [TensorSpec(spec.name, spec.datatype, (-1, *spec.shape)) for spec in specs]


manifests = st.builds(
    builders.manifest, tensor_lists, tensor_lists, max_batch_size=st.just(0)
) | st.builds(builders.manifest, tensor_lists.map(batches), tensor_lists.map(batches))


def test_describe_gives_a_valid_document() -> None:
    document = described(DIGITS, DIGITS_2, PAIR, api_key_required=True)

    validate(document)
    assert document["openapi"] == "3.0.1"
    assert [tag["name"] for tag in document["tags"]] == [SERVER_TAG, "digits", "pair"]


@settings(deadline=None, max_examples=25)
@given(manifests)
def test_describe_gives_a_valid_document_for_any_tensors(manifest: Manifest) -> None:
    document = described(manifest)

    validate(json.loads(json.dumps(document)))
    assert f"/v2/models/{manifest.name}/infer" in document["paths"]


@settings(deadline=None, max_examples=50)
@given(manifests)
def test_examples_fit_their_own_schemas_for_any_inputs(manifest: Manifest) -> None:
    document = described(manifest)

    infer, predict = examples.infer_example(manifest), examples.predict_example(manifest)

    assert accepts(document, "tiny.1.InferRequest", infer)
    assert accepts(document, "tiny.1.PredictRequest", predict)
    assert not accepts(document, "tiny.1.InferRequest", predict)


def test_describe_lists_every_endpoint_of_a_model() -> None:
    paths = described(DIGITS)["paths"]

    places = {"/v2/models/digits", "/v2/models/digits/versions/1"}
    expected = {f"{place}{end}" for place in places for end in ("", "/ready", "/config", "/infer")}
    assert {path for path in paths if path.startswith("/v2/models/")} == expected
    places = {
        "/v1/models/digits",
        "/v1/models/digits/versions/1",
        "/v1/models/digits/labels/stable",
    }
    ends = ("", "/metadata", ":predict", ":classify", ":regress")
    assert {path for path in paths if path.startswith("/v1/models/")} == {
        p + end for p in places for end in ends
    }


def test_describe_lists_the_endpoints_of_the_service_without_any_model() -> None:
    paths = described()["paths"]

    assert {(method, path) for path, methods in paths.items() for method in methods} == {
        ("get", "/v2"),
        ("get", "/v2/health/live"),
        ("get", "/v2/health/ready"),
        ("get", "/v2/models"),
        ("get", "/v1/models"),
        ("post", "/v2/repository/index"),
        ("get", "/openapi.json"),
        ("get", "/docs"),
    }


def test_a_path_without_version_describes_the_newest_version() -> None:
    document = described(DIGITS_2, DIGITS)

    body = document["paths"]["/v2/models/digits/infer"]["post"]["requestBody"]["content"][
        "application/json"
    ]
    older = document["paths"]["/v1/models/digits/labels/stable:predict"]["post"]["requestBody"][
        "content"
    ]
    assert body["schema"] == {"$ref": "#/components/schemas/digits.2.InferRequest"}
    assert body["example"]["inputs"][0]["datatype"] == "FP16"
    assert older["application/json"]["schema"] == {
        "$ref": "#/components/schemas/digits.1.PredictRequest"
    }


def test_every_operation_has_a_name_of_its_own() -> None:
    document = described(DIGITS, DIGITS_2, PAIR)

    names = [
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
    ]

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"name": "other"}, id="name"),
        pytest.param({"datatype": "FP64"}, id="datatype"),
        pytest.param({"shape": [1, 64]}, id="dimensions"),
        pytest.param({"shape": [-1, 1, 8, 8]}, id="negative-size"),
        pytest.param({"data": ["0.5"] * 64}, id="text-for-a-number"),
        pytest.param({"data": 0.5}, id="no-array"),
    ],
)
def test_the_schema_of_a_request_refuses_what_the_model_refuses(wrong: dict[str, Any]) -> None:
    document = described(DIGITS)
    request = examples.infer_example(DIGITS)

    request["inputs"][0] |= wrong

    assert not accepts(document, "digits.1.InferRequest", request)


@pytest.mark.parametrize(
    ("datatype", "value", "fits"),
    [
        ("UINT8", 255, True),
        ("UINT8", 256, False),
        ("INT64", -(2**63), True),
        ("INT64", 2**63, False),
        ("FP32", None, True),
        ("BOOL", 1, False),
        ("BYTES", "text", True),
    ],
)
def test_the_schema_of_an_element_follows_its_datatype(
    datatype: str, value: Any, fits: bool
) -> None:
    document = described(builders.manifest([builders.spec("x", datatype, (1,))]))

    request = {"inputs": [{"name": "x", "datatype": datatype, "shape": [1], "data": [value]}]}

    assert accepts(document, "tiny.1.InferRequest", request) is fits


def test_errors_are_described_in_the_one_form_with_retry_after_where_waiting_helps() -> None:
    document = described(DIGITS)

    responses = document["components"]["responses"]

    forms = {json.dumps(response["content"]["application/json"]) for response in responses.values()}
    assert forms == {'{"schema": {"$ref": "#/components/schemas/Error"}}'}
    assert {name for name, response in responses.items() if "headers" in response} == {
        "Error429",
        "Error503",
    }
    assert str(Limits().max_body_bytes) in responses["Error413"]["description"]
    assert "504" in document["paths"]["/v2/models/digits/infer"]["post"]["responses"]


def test_describe_asks_for_a_key_only_where_the_service_does() -> None:
    open_to_all, with_key = described(DIGITS), described(DIGITS, api_key_required=True)

    assert "security" not in open_to_all
    assert with_key["security"] == [{"api_key": []}]
    samples = with_key["paths"]["/v2/models/digits/infer"]["post"]["x-codeSamples"]
    assert "x-api-key: $KEY" in samples[0]["source"]


def test_an_example_is_left_out_when_it_would_hide_the_document() -> None:
    large = builders.manifest([builders.spec("image", "FP32", (-1, 3, 224, 224))], name="resnet")

    operation = described(large)["paths"]["/v2/models/resnet/infer"]["post"]

    assert "example" not in operation["requestBody"]["content"]["application/json"]
    assert "[0.5] * 150528" in operation["x-codeSamples"][0]["source"]
