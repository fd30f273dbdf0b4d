"""The API's document as API Gateway reads it, without the CDK."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import validate

from infra.openapi import ANY, MAX_RESOURCES, Targets, gateway_document, resource_count
from onnxlift.hosting import Throttle
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.describe.openapi import describe
from onnxlift_runtime.settings import Limits
from tests.support import builders

# What a part of a path may hold: API Gateway's own words when it refuses one.
PART = re.compile(r"[a-zA-Z0-9._:-]+|\{[a-zA-Z0-9._-]+\+?\}")


def documents(
    *names: str, versions: int = 1, api_key: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The API's document and the gateway's, for models with labelled versions."""
    manifests = [
        builders.manifest(name=name, version=str(version), version_labels=(f"label_{version}",))
        for name in names
        for version in range(1, versions + 1)
    ]
    document = describe(Catalog.of(manifests), title="demo", api_key_required=api_key)
    targets = Targets("control", {name: f"predict-{name}" for name in names})
    return document, gateway_document(document, targets, Throttle(rate=100, burst=200), Limits())


def resolve(gateway: dict[str, Any], path: str) -> str:
    """The function that API Gateway would call: the most exact part wins, a proxy takes all that is
    left.
    """
    parts = path.strip("/").split("/")
    candidates = [
        path,
        *("/".join(["", *parts[:length], "{proxy+}"]) for length in range(len(parts) - 1, -1, -1)),
    ]
    chosen = next(candidate for candidate in candidates if candidate in gateway["paths"])
    uri: str = gateway["paths"][chosen][ANY]["x-amazon-apigateway-integration"]["uri"]
    return uri


def test_every_documented_path_reaches_the_function_that_answers_it() -> None:
    document, gateway = documents("digits", "digits-2", versions=3)

    reached = {path: resolve(gateway, path) for path in document["paths"]}

    models = {path: re.match(r"/v[12]/models/([^/:]+)", path) for path in reached}
    assert reached == {
        path: f"predict-{model[1]}" if model else "control" for path, model in models.items()
    }


@pytest.mark.parametrize(
    ("path", "function"),
    [
        ("/v2/models/digits/versions/99/infer", "predict-digits"),
        ("/v1/models/digits/labels/none:predict", "predict-digits"),
        ("/v2/models/nope/infer", "control"),
        ("/v1/models/digits:unknown", "control"),
        ("/nothing", "control"),
        ("/", "control"),
    ],
)
def test_a_path_that_is_not_documented_reaches_the_function_that_can_say_why(
    path: str, function: str
) -> None:
    _, gateway = documents("digits")

    assert resolve(gateway, path) == function


def test_every_documented_method_without_version_is_the_gateways_too() -> None:
    document, gateway = documents("digits", versions=2)

    expected = {
        (path, method)
        for path, methods in document["paths"].items()
        if "/versions/" not in path and "/labels/" not in path
        for method in methods
    }

    found = {
        (path, method)
        for path, methods in gateway["paths"].items()
        for method in methods
        if method != ANY
    }
    assert found == expected


def test_the_gateway_is_given_no_schema_that_it_would_refuse() -> None:
    _, gateway = documents("digits", "text", api_key=True)

    text = json.dumps(gateway)

    assert "$ref" not in text
    assert set(gateway["components"]) == {"securitySchemes"}
    validate(gateway)


@given(
    st.lists(
        st.from_regex(r"[a-z][a-z0-9-]{0,39}", fullmatch=True), min_size=1, max_size=4, unique=True
    )
)
def test_every_part_of_a_path_is_one_that_the_gateway_takes(names: list[str]) -> None:
    _, gateway = documents(*names)

    parts = {part for path in gateway["paths"] for part in path.split("/")[1:]} - {""}

    assert all(PART.fullmatch(part) for part in parts)


def test_resource_count_counts_each_part_of_a_path_once() -> None:
    assert resource_count(["/", "/v2", "/v2/models", "/v2/models/a", "/v1/models"]) == 6


def test_twenty_six_models_with_many_versions_fit_one_api() -> None:
    _, gateway = documents(*(f"model-{number}" for number in range(26)), versions=4)

    assert resource_count(gateway["paths"]) <= MAX_RESOURCES
