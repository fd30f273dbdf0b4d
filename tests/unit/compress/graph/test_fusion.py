"""Attention as one node: the same bits, padding included, and nothing touched that is written
otherwise.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxlift.compress.graph.fusion import merge_attention
from onnxlift.compress.steps import Context
from onnxlift.compress.steps.embeddings import Embeddings
from onnxlift.compress.steps.float16 import Float16
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from tests.support import builders
from tests.support.compress.closeness import run
from tests.support.compress.transformer import samples, transformer

TEXT = samples()


def _kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def _node(model: onnx.ModelProto, name: str) -> Any:
    return next(node for node in model.graph.node if node.name == name)


def _set(model: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(array, name))


def _scaled(operator: str, number: float) -> onnx.ModelProto:
    """The transformer with its scores multiplied by 1 / sqrt(8), as exporters write it."""
    model = transformer()
    model.graph.initializer.append(numpy_helper.from_array(np.array(number, np.float32), "root"))
    _node(model, "scores_matmul").output[0] = "unscaled"
    position = _kinds(model).index("Softmax") - 1
    model.graph.node.insert(
        position, helper.make_node(operator, ["unscaled", "root"], ["scores"], name="scale")
    )
    return model


@pytest.mark.parametrize(
    "model",
    [
        transformer(),
        _scaled("Div", float(np.sqrt(8))),
        _scaled("Mul", 0.25),
        MatMulInt8().apply(transformer(), Context(TEXT)),
        Embeddings(4, 32, symmetric=False, smallest_bytes=1).apply(transformer(), Context()),
    ],
    ids=["plain", "divided", "multiplied", "int8", "table in 4 bits"],
)
def test_merged_attention_gives_the_same_answers_for_padded_rows(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()

    merged = merge_attention(model)

    assert model.SerializeToString() == before
    assert _kinds(merged).count("MultiHeadAttention") == 1
    assert not {"Softmax", "Transpose", "Reshape"} & set(_kinds(merged))
    np.testing.assert_allclose(run(merged, TEXT), run(model, TEXT), rtol=1e-5, atol=1e-5)


def test_attention_in_half_precision_is_left_alone() -> None:
    model = Float16().apply(transformer(), Context())

    assert merge_attention(model) is model


def test_a_key_that_is_turned_at_once_is_merged_too() -> None:
    model = transformer()
    _node(model, "key_transpose").attribute[0].CopyFrom(helper.make_attribute("perm", (0, 2, 3, 1)))
    _node(model, "scores_matmul").input[1] = "key_ready"
    model.graph.node.remove(_node(model, "key_turn"))

    merged = merge_attention(model)

    assert "MultiHeadAttention" in _kinds(merged)
    np.testing.assert_allclose(run(merged, TEXT), run(model, TEXT), rtol=1e-5, atol=1e-5)


def _another_axis(model: onnx.ModelProto) -> None:
    _node(model, "softmax").attribute[0].i = 1


def _near_mask(model: onnx.ModelProto) -> None:
    _set(model, "low", np.array(-3, np.float32))


def _another_order(model: onnx.ModelProto) -> None:
    _node(model, "value_transpose").attribute[0].CopyFrom(
        helper.make_attribute("perm", (0, 2, 1, 3))
    )
    _node(model, "mix_turn").attribute[0].CopyFrom(helper.make_attribute("perm", (1, 0, 2, 3)))
    _node(model, "mix_merge").input[1] = "rows_shape"
    model.graph.initializer.append(numpy_helper.from_array(np.array([24, -1, 32]), "rows_shape"))


def _read_elsewhere(model: onnx.ModelProto) -> None:
    model.graph.output.append(builders.value("shares", "FP32", (-1, -1, -1, -1)))


def _another_mask(model: onnx.ModelProto) -> None:
    _set(model, "one", np.array(2, np.float32))


@pytest.mark.parametrize(
    "change", [_another_axis, _near_mask, _another_order, _read_elsewhere, _another_mask]
)
def test_attention_that_is_written_otherwise_stays(
    change: Callable[[onnx.ModelProto], None],
) -> None:
    model = transformer()
    change(model)

    merged = merge_attention(model)

    assert merged is model


def test_models_without_attention_stay() -> None:
    model = builders.mlp()

    assert merge_attention(model) is model
