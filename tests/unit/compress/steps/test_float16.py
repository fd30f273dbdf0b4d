"""Half precision: near, all weights halved, and inputs and outputs as they were."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from onnxlift.compress.steps import Context, Step
from onnxlift.compress.steps.float16 import Float16
from onnxlift_runtime.errors import RecipeInvalid
from tests.support import builders
from tests.support.compress.closeness import cosine, run
from tests.support.compress.transformer import samples, transformer
from tests.support.errors import raises

ROWS = np.random.default_rng(2).normal(size=(20, 16)).astype(np.float32)
PIXELS = np.random.default_rng(1).normal(size=(20, 1, 8, 8)).astype(np.float32)


def _weight_types(model: onnx.ModelProto) -> set[int]:
    return {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) > 1}


@pytest.mark.parametrize(
    ("model", "feed"),
    [
        (builders.mlp(), {"x": ROWS}),
        (builders.convolution(), {"pixels": PIXELS}),
        (transformer(), samples()),
    ],
    ids=["mlp", "convolution", "transformer"],
)
def test_a_half_precision_model_stays_near_and_keeps_its_inputs_and_outputs(
    model: onnx.ModelProto, feed: dict[str, np.ndarray]
) -> None:
    before = model.SerializeToString()

    halved = Float16().apply(model, Context())

    assert isinstance(Float16(), Step)
    assert model.SerializeToString() == before
    assert _weight_types(halved) == {TensorProto.FLOAT16}
    assert [
        (item.name, item.type.tensor_type.elem_type)
        for item in [*halved.graph.input, *halved.graph.output]
    ] == [
        (item.name, item.type.tensor_type.elem_type)
        for item in [*model.graph.input, *model.graph.output]
    ]
    assert cosine(run(halved, feed), run(model, feed)) > 0.9999


def test_an_excluded_node_stays_float32() -> None:
    halved = Float16(exclude=("gemm1",)).apply(builders.mlp(), Context())

    types = {tensor.name: tensor.data_type for tensor in halved.graph.initializer}
    assert types["w1"] == TensorProto.FLOAT
    assert types["w2"] == TensorProto.FLOAT16
    assert cosine(run(halved, {"x": ROWS}), run(builders.mlp(), {"x": ROWS})) > 0.9999


def test_halving_again_gives_the_same_bytes() -> None:
    first, second = (
        Float16().apply(transformer(), Context()).SerializeToString() for _ in range(2)
    )

    assert first == second


def test_a_model_without_float32_weights_is_refused() -> None:
    with raises(RecipeInvalid, "float32"):
        Float16().apply(builders.identity(), Context())
