"""Estimates: the bytes that the steps then really write, and an error near the real one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxlift.compress.graph.editing import Graph
from onnxlift.compress.inspect.estimates import Estimate, estimates, kind
from onnxlift.compress.model.inventory import weights
from onnxlift.compress.steps import Context, Step
from onnxlift.compress.steps.embeddings import Embeddings
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from onnxlift.compress.steps.weight_blocks import WeightBlocks
from onnxlift.compress.steps.weight_storage import WeightStorage
from onnxlift_runtime.errors import ModelRefused
from tests.support import builders
from tests.support.compress.operators import BODIES, OPERATORS
from tests.support.compress.transformer import transformer
from tests.support.errors import raises

_NEAREST = WeightBlocks(4, block=32, symmetric=False, method="nearest")


def _estimated(model: onnx.ModelProto) -> dict[str, Estimate]:
    found = estimates(weights(model), _stored(model), Path())
    return {item.family: item for item in found}


def _stored(model: onnx.ModelProto) -> int:
    return sum(weight.size_bytes for weight in weights(model))


@pytest.mark.parametrize(
    ("family", "steps"),
    [
        ("int8 matrices", (MatMulInt8(rounding="nearest", saturation="ignore"),)),
        ("4-bit matrices", (_NEAREST,)),
        ("8-bit embeddings", (Embeddings(8),)),
        ("4-bit embeddings", (Embeddings(4, block=32, symmetric=False),)),
        ("int8 matrices, 8-bit embeddings", (MatMulInt8(rounding="nearest"), Embeddings(8))),
        ("4-bit matrices and embeddings", (_NEAREST, Embeddings(4, block=32, symmetric=False))),
    ],
)
def test_the_estimated_size_is_what_the_steps_write(family: str, steps: tuple[Step, ...]) -> None:
    model = transformer()

    changed = model
    for step in steps:
        changed = step.apply(changed, Context())

    assert _estimated(model)[family].size_bytes == pytest.approx(_stored(changed), rel=0.005)


def test_the_estimated_error_is_that_of_rounding() -> None:
    model = transformer()
    exact = Graph(model).projection("wide").weight
    scale = np.abs(exact).max(axis=0) / 127

    error = np.linalg.norm(np.rint(exact / scale) * scale - exact) / np.linalg.norm(exact)

    assert _estimated(model)["int8 matrices"].error == pytest.approx(error, rel=0.2)
    assert _estimated(model)["4-bit matrices"].error > 5 * error
    assert _estimated(model)["float16 (for GPUs)"].error < error


def test_only_families_with_weights_of_their_kind_are_told() -> None:
    assert set(_estimated(builders.mlp())) == {
        "float16 (for GPUs)",
        "int8 weights, float32 products",
        "int8 matrices",
        "4-bit matrices",
    }
    assert {"int8 kernels", "int8 kernels and matrices"} <= set(_estimated(builders.convolution()))


def test_a_model_without_weights_has_no_estimates() -> None:
    assert _estimated(builders.identity()) == {}


@pytest.mark.parametrize("build", [*OPERATORS, *BODIES], ids=lambda build: build.__name__)
def test_weights_of_any_operator_are_estimated_as_they_are_stored(
    build: Callable[[], onnx.ModelProto],
) -> None:
    model = build()

    stored = WeightStorage().apply(model, Context())

    found = _estimated(model)["int8 weights, float32 products"]
    assert found.size_bytes == pytest.approx(_stored(stored), rel=0.12)
    assert found.error < 0.02


def test_a_gemm_that_stores_its_matrix_transposed_is_estimated_alike() -> None:
    model = builders.mlp(inputs=64, hidden=32)
    plain = _estimated(model)
    for node, name in ((model.graph.node[0], "w1"), (model.graph.node[2], "w2")):
        node.attribute.append(onnx.helper.make_attribute("transB", 1))
        tensor = next(item for item in model.graph.initializer if item.name == name)
        tensor.CopyFrom(
            numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(tensor).T), name)
        )

    assert _estimated(model)["4-bit matrices"] == plain["4-bit matrices"]
    assert _estimated(model)["int8 matrices"].error == pytest.approx(plain["int8 matrices"].error)


def test_a_weight_that_several_nodes_read_is_left_alone() -> None:
    weight = next(item for item in weights(builders.linear()) if item.tensor.name == "weight")

    assert kind(weight) == "matrix"
    assert kind(replace(weight, shared=True)) is None


def test_weights_beside_the_model_are_estimated_where_they_lie(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(
        transformer(), path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    model = onnx.load(path, load_external_data=False)

    found = estimates(weights(model), _stored(model), tmp_path)

    assert {item.family: item for item in found} == _estimated(transformer())


def test_weights_whose_bytes_do_not_fit_their_shape_are_refused() -> None:
    model = builders.linear()
    model.graph.initializer[0].raw_data = bytes(8)

    with raises(ModelRefused, "'weight'"):
        _estimated(model)


def test_values_that_are_no_numbers_are_estimated_without_a_warning() -> None:
    model = builders.linear()
    values = np.array([[np.nan, np.inf, 1e38]] * 4, np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "weight"))

    assert _estimated(model)["int8 matrices"].weights == 1
