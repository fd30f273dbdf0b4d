"""Int8 projections: near, only weights changed, and no pair of weights that saturates 16 bits."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from onnxlift.compress.steps import Context
from onnxlift.compress.steps.matmul_int8 import MatMulInt8, Rounding, Saturation, bound_pairs
from onnxlift_runtime.errors import RecipeInvalid, SamplesInvalid
from tests.support import builders
from tests.support.compress.closeness import cosine, run
from tests.support.compress.transformer import samples, transformer
from tests.support.errors import raises

ROWS = np.random.default_rng(2).normal(size=(70, 16)).astype(np.float32)


def _int8_weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {
        name: array for name, array in found.items() if array.dtype == np.int8 and array.ndim == 2
    }


@pytest.mark.parametrize("rounding", ["nearest", "compensated"])
@pytest.mark.parametrize("saturation", ["ignore", "avoid", "halve"])
def test_every_setting_stays_near_and_keeps_inputs_and_outputs(
    rounding: Rounding, saturation: Saturation
) -> None:
    model = builders.mlp()
    before = model.SerializeToString()

    quantized = MatMulInt8(rounding, saturation).apply(model, Context({"x": ROWS}))

    assert model.SerializeToString() == before
    assert cosine(run(quantized, {"x": ROWS}), run(model, {"x": ROWS})) > 0.999
    assert len(_int8_weights(quantized)) == 2
    assert list(quantized.graph.input) == list(model.graph.input)
    assert list(quantized.graph.output) == list(model.graph.output)


def test_query_key_and_value_share_one_quantized_input() -> None:
    quantized = MatMulInt8().apply(transformer(), Context(samples()))

    kinds = [node.op_type for node in quantized.graph.node]

    assert kinds.count("MatMulInteger") == 6
    assert kinds.count("DynamicQuantizeLinear") == 4
    assert kinds.count("MatMul") == 2


def test_an_excluded_node_stays_as_it_is() -> None:
    quantized = MatMulInt8("nearest", exclude=("gemm1",)).apply(builders.mlp(), Context())

    assert [node.op_type for node in quantized.graph.node if node.name == "gemm1"] == ["Gemm"]
    assert list(_int8_weights(quantized)) == ["w2/int8"]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    inputs=st.integers(1, 40),
    rounding=st.sampled_from(["nearest", "compensated"]),
    spread=st.floats(0.01, 3),
)
def test_no_pair_of_weights_can_saturate(
    seed: int, inputs: int, rounding: str, spread: float
) -> None:
    random = np.random.default_rng(seed)
    weight = np.sign(random.normal(size=(inputs, 5))) * random.lognormal(0, spread, (inputs, 5))
    model = builders.linear(inputs, 5)
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(weight.astype(np.float32), "weight")
    )
    rows = random.normal(size=(64, inputs)).astype(np.float32)

    quantized = MatMulInt8(rounding, "avoid").apply(model, Context({"x": rows}))  # type: ignore[arg-type]

    whole = _int8_weights(quantized)["weight/int8"].astype(np.int32)
    padded = np.pad(whole, ((0, inputs % 2), (0, 0)))
    up, down = np.maximum(padded, 0), np.minimum(padded, 0)
    assert (255 * (up[::2] + up[1::2])).max() <= 2**15 - 1
    assert (255 * (down[::2] + down[1::2])).min() >= -(2**15)


def test_compensation_loses_less_than_rounding_to_nearest() -> None:
    random = np.random.default_rng(0)
    rows = (random.normal(size=(300, 4)) @ random.normal(size=(4, 48))).astype(np.float32)
    weight = random.normal(size=(48, 32)).astype(np.float32)
    moment = rows.T.astype(np.float64) @ rows

    model = builders.linear(48, 32, bias=False)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))
    found = {
        rounding: MatMulInt8(rounding).apply(model, Context({"x": rows}))  # type: ignore[arg-type]
        for rounding in ("nearest", "compensated")
    }

    errors = {}
    for rounding, quantized in found.items():
        parts = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer
        }
        off = weight - parts["weight/int8"] * parts["weight/scale"]
        errors[rounding] = np.einsum("ko,kj,jo->", off, moment, off)
    assert errors["compensated"] < 0.5 * errors["nearest"]


def test_a_pair_gives_up_half_of_its_excess_each() -> None:
    whole = np.array([[100.0, -100, 100, 5], [80, -80, -100, 6], [127, 0, 0, 0]])

    bounded = bound_pairs(whole)

    np.testing.assert_array_equal(bounded, [[74, -74, 100, 5], [54, -54, -100, 6], [127, 0, 0, 0]])


def test_a_model_without_weights_is_refused() -> None:
    with raises(RecipeInvalid, "MatMul", "Gemm"):
        MatMulInt8("nearest").apply(builders.identity(), Context())


def test_compensation_without_samples_says_which_input_it_needs() -> None:
    with raises(SamplesInvalid, "'x'"):
        MatMulInt8().apply(builders.mlp(), Context())
