"""The local table of paths against the one that API Gateway gets."""

from typing import Any

import pytest

from infra.openapi import Targets, gateway_document
from onnxlift.hosting import Throttle
from onnxlift.local.functions.wiring import FUNCTIONS, Wiring, load_handlers
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.describe import openapi
from onnxlift_runtime.settings import Limits
from tests.support import builders

CATALOG = Catalog.of(
    [builders.manifest(name="one"), builders.manifest(name="two", version_labels=("stable",))]
)
WIRING = Wiring({}, frozenset(CATALOG.models))


def _gateway_paths() -> dict[str, Any]:
    """Every path of the deployed API with its methods; integrations name the function that
    answers.
    """
    document = openapi.describe(CATALOG, title="tiny", api_key_required=False)
    targets = Targets("control", dict.fromkeys(CATALOG.models, "predict"))
    paths: dict[str, Any] = gateway_document(document, targets, Throttle(), Limits())["paths"]
    return paths


@pytest.mark.parametrize("path", sorted(_gateway_paths()))
def test_every_path_of_the_deployed_api_goes_to_the_same_function(path: str) -> None:
    methods = _gateway_paths()[path].values()
    deployed = {
        method["x-amazon-apigateway-integration"]["uri"]
        for method in methods
        if isinstance(method, dict)
    }

    local = {
        WIRING.function_for(path.replace("{proxy+}", rest)) for rest in ("any", "versions/1/infer")
    }

    assert local == deployed


@pytest.mark.parametrize(
    "path", ["/v2/models/three/infer", "/v1/models/three:predict", "/v2/models", "/v2", "/", ""]
)
def test_a_path_without_a_known_model_goes_to_control(path: str) -> None:
    assert WIRING.function_for(path) == "control"


def test_every_function_of_the_table_has_a_handler() -> None:
    handlers = load_handlers()

    assert set(handlers) == set(FUNCTIONS)
    assert all(callable(handler) for handler in handlers.values())
