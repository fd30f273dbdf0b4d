"""SmoothQuant: the same answers, narrower channels, and no new nodes where the operator before
takes the scales.
"""

import numpy as np
import pytest
from onnx import helper

from onnxlift.compress.calibration.activations import observe
from onnxlift.compress.steps import Context
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from onnxlift.compress.steps.smooth_quant import SmoothQuant
from onnxlift_runtime.errors import RecipeInvalid, SamplesInvalid
from tests.support import builders
from tests.support.compress.closeness import constants, cosine, run
from tests.support.compress.transformer import samples, transformer
from tests.support.errors import raises

CONTEXT = Context(samples())


@pytest.mark.parametrize("alpha", [None, 0.0, 0.5, 1.0])
def test_the_answers_stay_and_the_given_model_too(alpha: float | None) -> None:
    model = transformer()
    before = model.SerializeToString()

    smoothed = SmoothQuant(alpha).apply(model, CONTEXT)

    assert model.SerializeToString() == before
    np.testing.assert_allclose(
        run(smoothed, CONTEXT.samples), run(model, CONTEXT.samples), rtol=2e-3, atol=2e-3
    )


def test_channels_are_equally_wide_when_alpha_is_1() -> None:
    smoothed = SmoothQuant(1.0).apply(transformer(), CONTEXT)
    name = next(node.input[0] for node in smoothed.graph.node if node.name == "query")

    widest = np.max(
        [
            np.abs(seen[name]).max(axis=(0, 1))
            for seen in observe(smoothed, [name], CONTEXT.samples)
        ],
        axis=0,
    )

    np.testing.assert_allclose(widest, 1, rtol=1e-5)


def test_int8_is_several_times_nearer_after_fitting() -> None:
    model = transformer()
    whole = MatMulInt8("nearest", "halve")  # cannot saturate, so every CPU computes the same

    plain = whole.apply(model, CONTEXT)
    fitted = whole.apply(SmoothQuant().apply(model, CONTEXT), CONTEXT)

    expected = run(model, CONTEXT.samples)
    lost, left = (1 - cosine(run(item, CONTEXT.samples), expected) for item in (plain, fitted))
    assert left < 0.4 * lost


def test_attention_takes_the_scales_of_its_output_in_the_value_projection() -> None:
    model = transformer()
    others = tuple(name for name in ("query", "key", "value", "wide", "narrow"))

    smoothed = SmoothQuant(0.7, exclude=others).apply(model, CONTEXT)

    assert [node.op_type for node in smoothed.graph.node] == [
        node.op_type for node in model.graph.node
    ]
    changed = {
        name for name, data in constants(model).items() if constants(smoothed).get(name) != data
    }
    assert changed == {"value_w", "value_b", "dense_w"}


def test_a_relu_passes_the_scales_on_to_the_layer_before() -> None:
    rows = np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32)
    model = builders.mlp()

    smoothed = SmoothQuant(0.7, exclude=("gemm1",)).apply(model, Context({"x": rows}))

    assert [node.op_type for node in smoothed.graph.node] == ["Gemm", "Relu", "Gemm", "Softmax"]
    np.testing.assert_allclose(run(smoothed, {"x": rows}), run(model, {"x": rows}), atol=1e-5)


def test_other_readers_of_a_smoothed_value_see_what_they_saw() -> None:
    smoothed = SmoothQuant(0.7).apply(transformer(), CONTEXT)

    adds = {
        node.name: list(node.input) for node in smoothed.graph.node if node.name == "residual_add"
    }

    assert adds == {"residual_add": ["dense_out", "start"]}


def test_an_alpha_out_of_range_is_refused() -> None:
    with raises(RecipeInvalid, "alpha"):
        SmoothQuant(1.5)


def test_a_model_without_projections_is_refused() -> None:
    with raises(RecipeInvalid, "MatMul", "Gemm"):
        SmoothQuant().apply(builders.identity(), Context({"x": np.ones((2, 2), np.float32)}))


def test_missing_samples_are_named() -> None:
    with raises(SamplesInvalid, "input_ids"):
        SmoothQuant().apply(transformer(), Context())


def test_a_projection_of_a_projection_takes_the_scales_in_its_weights() -> None:
    weights = {
        name: np.random.default_rng(3).normal(size=(8, 8)).astype(np.float32)
        for name in ("first_w", "second_w")
    }
    nodes = [
        helper.make_node("MatMul", ["x", "first_w"], ["h"], name="first"),
        helper.make_node("MatMul", ["h", "second_w"], ["y"], name="second"),
    ]
    model = builders.build(
        nodes,
        [builders.value("x", "FP32", (-1, 8))],
        [builders.value("y", "FP32", (-1, 8))],
        weights,
    )
    rows = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)

    smoothed = SmoothQuant(0.6, exclude=("first",)).apply(model, Context({"x": rows}))

    assert [node.op_type for node in smoothed.graph.node] == ["MatMul", "MatMul"]
    assert constants(smoothed)["first_w_1"] != constants(model)["first_w"]
    np.testing.assert_allclose(
        run(smoothed, {"x": rows}), run(model, {"x": rows}), rtol=1e-3, atol=1e-4
    )
