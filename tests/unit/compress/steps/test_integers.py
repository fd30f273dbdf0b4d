"""What the int8 steps do where onnxruntime's quantizer finds nothing, fails, or should keep away
from the heads.
"""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxlift.compress.recipes.presets import recipe
from onnxlift.compress.steps import Context
from onnxlift.compress.steps.int8_dynamic import Int8Dynamic
from onnxlift.compress.steps.int8_static import Int8Static
from onnxlift.compress.steps.integers import last_layers, quantize_most
from onnxlift_runtime.errors import RecipeInvalid
from tests.support import builders
from tests.support.compress.closeness import cosine, run
from tests.support.compress.operators import lstm
from tests.support.errors import raises

RANDOM = np.random.default_rng(6)
PIXELS = RANDOM.normal(size=(40, 4, 8, 8)).astype(np.float32)


def _normal(*size: int, scale: float = 0.2) -> np.ndarray:
    return RANDOM.normal(size=size, scale=scale).astype(np.float32)


def _detector() -> onnx.ModelProto:
    """``x`` FP32 [-1, 4, 8, 8] to boxes of hundreds and scores below 1 in one output [-1, 6, 8,
    8].
    """
    constants = {
        "body": _normal(16, 4, 3, 3),
        "boxes_w": _normal(4, 16, 1, 1, scale=40),
        "scores_w": _normal(2, 16, 1, 1),
    }
    nodes = [
        helper.make_node("Conv", ["x", "body"], ["c"], name="body", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "boxes_w"], ["boxes"], name="boxes"),
        helper.make_node("Conv", ["r", "scores_w"], ["logits"], name="scores"),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["y"], axis=1),
    ]
    given = [builders.value("x", "FP32", (-1, 4, 8, 8))]
    return builders.build(nodes, given, [builders.value("y", "FP32", (-1, 6, 8, 8))], constants)


def test_heads_in_float_keep_scores_that_share_an_output_with_boxes() -> None:
    model, feed = _detector(), {"x": PIXELS}

    plain, layers = (
        recipe(name, "x86_64").apply(model, Context(feed))
        for name in ("int8-static", "int8-static-layers")
    )

    expected = run(model, feed)[:, 4:]
    assert np.ptp(run(plain, feed)[:, 4:]) < 0.2 * np.ptp(expected) or (
        len(np.unique(run(plain, feed)[:, 4:])) < 4
    )
    found = run(layers, feed)[:, 4:]
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99
    kinds = {tensor.name: tensor.data_type for tensor in layers.graph.initializer}
    assert (kinds["body_quantized"], kinds["boxes_w"]) == (TensorProto.INT8, TensorProto.FLOAT)


def test_the_last_layers_are_those_that_no_other_follows() -> None:
    assert set(last_layers(_detector())) == {"boxes", "scores"}


def test_an_lstm_is_quantized_and_the_rest_is_stored() -> None:
    model = lstm()
    feed = {"x": RANDOM.normal(size=(5, 2, 32)).astype(np.float32)}

    quantized = recipe("int8-lstm", "x86_64").apply(model, Context())

    assert [node.op_type for node in quantized.graph.node] == ["DynamicQuantizeLSTM"]
    assert quantized.ByteSize() < 0.35 * model.ByteSize()
    assert cosine(run(quantized, feed), run(model, feed)) > 0.99


def _forest() -> onnx.ModelProto:
    """As scikit-learn's models come: a Scaler, and no ai.onnx at all."""
    node = helper.make_node(
        "Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.0] * 4, scale=[2.0] * 4
    )
    given, made = [builders.value("x", "FP32", (-1, 4))], [builders.value("y", "FP32", (-1, 4))]
    model = builders.build([node], given, made, domains=["ai.onnx.ml"])
    del model.opset_import[0]
    return model


@pytest.mark.parametrize("step", [Int8Static(), Int8Dynamic()], ids=lambda step: step.title)
def test_a_graph_without_layers_says_just_that(step: Int8Static | Int8Dynamic) -> None:
    samples = {"x": RANDOM.normal(size=(20, 4)).astype(np.float32)}

    with raises(RecipeInvalid, "no Conv, Gemm or MatMul", "Scaler"):
        step.apply(_forest(), Context(samples))


def _failing_with(*operators: str) -> tuple[list[tuple[str, ...]], object]:
    tried: list[tuple[str, ...]] = []

    def quantize(model: onnx.ModelProto, asked: Sequence[str], context: Context) -> onnx.ModelProto:
        tried.append(tuple(asked))
        if not asked or set(operators) & set(asked):
            raise ValueError("Histogram has not been collected")
        return Int8Static(operators=tuple(asked))._quantize(model, asked, context)

    return tried, quantize


def test_what_makes_the_quantizer_fail_is_left_out_and_noted() -> None:
    model = builders.convolution()
    context = Context({"pixels": RANDOM.normal(size=(20, 1, 8, 8)).astype(np.float32)})
    _, quantize = _failing_with("Gemm", "MatMul")

    quantized = quantize_most(model, (), context, quantize, "int8_static")  # type: ignore[arg-type]

    conv = next(node for node in quantized.graph.node if node.op_type == "Conv")
    producers = {name: node.op_type for node in quantized.graph.node for name in node.output}
    assert producers[conv.input[1]] == "DequantizeLinear"
    assert len(context.notes) == 1
    assert "only Conv in 8 bits" in context.notes[0]
    assert "Gemm" in context.notes[0]


def test_a_quantizer_that_always_fails_gives_no_words_of_its_own() -> None:
    tried, quantize = _failing_with("Conv", "Gemm", "MatMul")

    with raises(RecipeInvalid) as caught:
        quantize_most(builders.mlp(), (), Context(), quantize, "int8_static")  # type: ignore[arg-type]

    assert "Histogram" not in str(caught.value)
    assert tried == [(), ("Conv", "Gemm", "MatMul"), ("Gemm", "MatMul"), ("Conv",)]
