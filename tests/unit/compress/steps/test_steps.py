"""Each step: close to the model it was given, the intended tensors changed, nothing else, and the
same every time.
"""

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from onnxlift.compress.steps import Context, Step
from onnxlift.compress.steps.clean import Clean
from onnxlift.compress.steps.int8_dynamic import Int8Dynamic
from onnxlift.compress.steps.int8_static import LEGAL_TYPES, METHODS, Int8Static
from onnxlift_runtime.errors import RecipeInvalid, SamplesInvalid
from tests.support import builders
from tests.support.errors import raises

PIXELS = np.random.default_rng(1).normal(size=(70, 1, 8, 8)).astype(np.float32)
ROWS = np.random.default_rng(2).normal(size=(70, 16)).astype(np.float32)
CASES = [(builders.mlp(), {"x": ROWS}), (builders.convolution(), {"pixels": PIXELS})]
STEPS: list[Step] = [
    Clean(),
    Clean(optimize=False),
    Int8Dynamic(),
    Int8Dynamic(per_channel=False, weight_type="uint8", reduce_range=False),
    *(Int8Static(method) for method in METHODS),  # type: ignore[arg-type]
    *(Int8Static("minmax", activation, weight) for activation, weight in LEGAL_TYPES),  # type: ignore[arg-type]
]


def _run(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:
    onnx.checker.check_model(model)
    output: np.ndarray = ort.InferenceSession(model.SerializeToString()).run(None, feed)[0]
    return output


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.sum(first * second) / (np.linalg.norm(first) * np.linalg.norm(second)))


def _types(model: onnx.ModelProto) -> list[int]:
    return [tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) > 1]


@pytest.mark.parametrize("step", STEPS, ids=repr)
@pytest.mark.parametrize(("model", "samples"), CASES, ids=["mlp", "convolution"])
def test_a_step_stays_close_changes_no_input_and_repeats_itself(
    step: Step, model: onnx.ModelProto, samples: dict[str, np.ndarray]
) -> None:
    before = model.SerializeToString()

    changed = step.apply(model, Context(samples))

    assert isinstance(step, Step)
    assert model.SerializeToString() == before
    assert _cosine(_run(changed, samples), _run(model, samples)) > 0.99
    assert step.apply(model, Context(samples)).SerializeToString() == changed.SerializeToString()
    assert list(changed.graph.input) == list(model.graph.input)
    assert [value.name for value in changed.graph.output] == [
        value.name for value in model.graph.output
    ]


def test_clean_folds_constants_and_keeps_the_answers() -> None:
    constants = {"a": np.ones((4, 3), np.float32), "b": np.full((4, 3), 2, np.float32)}
    nodes = [
        helper.make_node("Add", ["a", "b"], ["weight"], name="fold_me"),
        helper.make_node("MatMul", ["x", "weight"], ["y"], name="matmul"),
    ]
    model = builders.build(
        nodes,
        [builders.value("x", "FP32", (-1, 4))],
        [builders.value("y", "FP32", (-1, 3))],
        constants,
    )

    changed = Clean().apply(model, Context())

    assert [node.op_type for node in changed.graph.node] == ["MatMul"]
    np.testing.assert_array_equal(
        _run(changed, {"x": ROWS[:, :4]}), _run(model, {"x": ROWS[:, :4]})
    )


def test_clean_infers_shapes() -> None:
    changed = Clean(optimize=False).apply(builders.mlp(hidden=64), Context())

    shapes = {
        item.name: [dim.dim_value for dim in item.type.tensor_type.shape.dim]
        for item in changed.graph.value_info
    }
    assert shapes["h"][-1] == 64


@pytest.mark.parametrize(
    ("weight_type", "data_type"), [("int8", TensorProto.INT8), ("uint8", TensorProto.UINT8)]
)
def test_int8_dynamic_turns_weights_into_integers_and_leaves_biases(
    weight_type: Any, data_type: int
) -> None:
    changed = Int8Dynamic(weight_type=weight_type).apply(builders.mlp(), Context())

    assert set(_types(changed)) == {data_type}
    assert [node.op_type for node in changed.graph.node].count("MatMulInteger") == 2
    assert {"b1", "b2"} <= {tensor.name for tensor in changed.graph.initializer}


def test_int8_dynamic_leaves_excluded_nodes_and_other_operators_alone() -> None:
    excluded = Int8Dynamic(exclude=("gemm1",)).apply(builders.mlp(), Context())
    limited = Int8Dynamic(operators=("MatMul", "Gemm")).apply(builders.convolution(), Context())

    assert [node.op_type for node in excluded.graph.node].count("MatMulInteger") == 1
    assert _types(excluded) == [TensorProto.FLOAT, TensorProto.INT8]
    assert [node.op_type for node in limited.graph.node].count("Conv") == 2


def test_reduce_range_keeps_weights_within_seven_bits() -> None:
    reduced = Int8Dynamic(reduce_range=True).apply(builders.linear(16, 8), Context())
    full = Int8Dynamic(reduce_range=False).apply(builders.linear(16, 8), Context())

    assert _largest(reduced) <= 64 < _largest(full)


def _largest(model: onnx.ModelProto) -> int:
    weights = [
        tensor
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1
    ]
    return max(
        int(np.abs(onnx.numpy_helper.to_array(tensor).astype(int)).max()) for tensor in weights
    )


@pytest.mark.parametrize("step", [Int8Dynamic(), Int8Static()], ids=repr)
def test_a_model_without_weights_is_refused_with_its_operators(step: Step) -> None:
    with raises(RecipeInvalid, "Identity"):
        step.apply(builders.identity(), Context({"x": ROWS[:, :2]}))


def test_int8_dynamic_refuses_another_weight_type() -> None:
    with raises(RecipeInvalid, "weight_type", "int8", "uint8", "'int4'"):
        Int8Dynamic(weight_type="int4")  # type: ignore[arg-type]


def test_int8_static_puts_quantized_values_around_every_weight() -> None:
    changed = Int8Static().apply(builders.convolution(), Context({"pixels": PIXELS}))

    operators = {node.op_type for node in changed.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv", "Gemm"} <= operators
    assert _types(changed).count(TensorProto.INT8) == 3
    assert TensorProto.FLOAT not in _types(changed)


def test_int8_static_leaves_excluded_nodes_alone() -> None:
    changed = Int8Static(exclude=("conv2",)).apply(
        builders.convolution(), Context({"pixels": PIXELS})
    )

    kernels = {tensor.name: tensor.data_type for tensor in changed.graph.initializer}
    assert kernels["k2"] == TensorProto.FLOAT


def test_int8_static_needs_samples() -> None:
    with raises(SamplesInvalid, "calibration"):
        Int8Static().apply(builders.mlp(), Context())


@pytest.mark.parametrize("version", [9, 12])
def test_int8_static_takes_models_of_opsets_without_scales_for_each_channel(version: int) -> None:
    model = builders.convolution()
    model.ir_version, model.opset_import[0].version = 4, version

    changed = Int8Static().apply(model, Context({"pixels": PIXELS}))

    assert _cosine(_run(changed, {"pixels": PIXELS}), _run(model, {"pixels": PIXELS})) > 0.99
    assert model.opset_import[0].version == version


def test_int8_static_says_nothing_on_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    Int8Static("entropy").apply(builders.mlp(), Context({"x": ROWS}))

    assert capfd.readouterr().out == ""


def test_int8_static_refuses_another_method_and_names_the_legal_ones() -> None:
    with raises(RecipeInvalid, "minmax", "entropy", "percentile", "'magic'"):
        Int8Static("magic")  # type: ignore[arg-type]


def test_int8_static_refuses_types_no_kernel_computes_and_names_the_legal_pairs() -> None:
    with raises(RecipeInvalid, "'int8'", "'uint8'", "uint8 with int8", "int8 with int8"):
        Int8Static(activation_type="int8", weight_type="uint8")


def test_weights_with_a_declared_shape_are_quantized_too() -> None:
    model = builders.mlp()
    transposed = np.ascontiguousarray(onnx.numpy_helper.to_array(model.graph.initializer[0]).T)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(transposed, "w1"))
    model.graph.node[0].attribute.append(helper.make_attribute("transB", 1))
    model.graph.value_info.append(helper.make_tensor_value_info("w1", TensorProto.FLOAT, [64, 16]))

    changed = Int8Dynamic().apply(model, Context())

    assert _cosine(_run(changed, {"x": ROWS}), _run(model, {"x": ROWS})) > 0.99


@settings(max_examples=15, deadline=None)
@given(
    st.integers(2, 24),
    st.integers(2, 40),
    st.integers(2, 12),
    st.integers(0, 2**31),
    st.sampled_from([0, 1]),
)
def test_any_small_network_stays_close_when_quantized(
    inputs: int, hidden: int, classes: int, seed: int, which: int
) -> None:
    model = builders.mlp(inputs, hidden, classes, seed=seed)
    rows = np.random.default_rng(seed).normal(size=(64, inputs)).astype(np.float32)
    step: Step = (Int8Dynamic(), Int8Static())[which]

    changed = step.apply(model, Context({"x": rows}))

    assert np.abs(_run(changed, {"x": rows}) - _run(model, {"x": rows})).mean() < 0.05


def test_static_ranges_come_from_every_run() -> None:
    rows = np.concatenate([ROWS[:1] * 50, np.tile(ROWS[:32], (8, 1))[:255]])

    quantized = Int8Static("minmax").apply(builders.mlp(), Context({"x": rows}))

    [scale] = [tensor for tensor in quantized.graph.initializer if tensor.name == "x_scale"]
    assert scale.float_data[0] * 255 == pytest.approx(np.ptp(rows), rel=0.01)
