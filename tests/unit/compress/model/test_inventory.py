"""Weights without their values: sizes, readers, layers."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxlift.compress.model.inventory import data_bytes, datatype, layer_name, layer_sizes, weights
from onnxlift.compress.results import LayerSize
from onnxlift.compress.steps import Context
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from tests.support import builders


@pytest.mark.parametrize(
    ("weight", "node", "layer"),
    [
        ("encoder.layer.0.attention.self.query.weight", "", "encoder.layer.0"),
        ("onnx::MatMul_1234", "/encoder/layer.11/attention/self/query/MatMul", "encoder.layer.11"),
        ("encoder.layer.0.output.dense.weight/int8", "anything", "encoder.layer.0"),
        ("layer1.0.conv1.weight_quantized", "", "layer1.0"),
        ("", "/layer1/layer1.0/conv1/Conv", "layer1.0"),
        ("embeddings.word_embeddings.weight", "/embeddings/Gather", "embeddings"),
        ("fc.weight", "/fc/Gemm", "fc"),
        ("val_12", "node_linear_3", "node_linear_3"),
        ("w1", "gemm1", "gemm1"),
        ("w1/int8", "gemm1/int32", "gemm1"),
        ("w1", "", "w1"),
        ("123", "conv", "conv"),
        ("", "", ""),
    ],
)
def test_a_layer_is_named_up_to_its_first_number(weight: str, node: str, layer: str) -> None:
    assert layer_name(weight, node) == layer


@pytest.mark.parametrize(
    ("kind", "dims", "size_bytes"),
    [
        (TensorProto.FLOAT, [3, 5], 60),
        (TensorProto.FLOAT, [], 4),
        (TensorProto.INT4, [3, 3], 5),
        (TensorProto.UINT2, [9], 3),
        (TensorProto.BFLOAT16, [0, 7], 0),
        (TensorProto.INT64, [2**20, 2**20], 2**43),
    ],
)
def test_a_tensor_takes_what_its_shape_and_datatype_say(
    kind: int, dims: list[int], size_bytes: int
) -> None:
    assert data_bytes(TensorProto(data_type=kind, dims=dims)) == size_bytes


def test_text_takes_its_bytes() -> None:
    tensor = TensorProto(data_type=TensorProto.STRING, dims=[2], string_data=[b"ab", b"cde"])

    assert data_bytes(tensor) == 5


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (TensorProto(data_type=99, dims=[1]), "datatype is 99"),
        (TensorProto(data_type=TensorProto.FLOAT, dims=[2, -1]), r"shape \[2, -1\]"),
        (TensorProto(), "UNDEFINED"),
    ],
)
def test_a_tensor_whose_size_nobody_knows_is_an_error(tensor: TensorProto, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        data_bytes(tensor)


def test_every_datatype_of_onnx_with_whole_or_packed_elements_has_a_size() -> None:
    odd = {"UNDEFINED", "STRING", "FLOAT6E2M3", "FLOAT6E3M2"}

    for name, number in TensorProto.DataType.items():
        if name not in odd:
            tensor = TensorProto(data_type=number, dims=[8])
            size_bytes = helper.tensor_dtype_to_np_dtype(number).itemsize * 8
            assert datatype(tensor) == name
            assert data_bytes(tensor) in (size_bytes, size_bytes // 2, size_bytes // 4)


def test_each_weight_is_told_with_the_node_that_reads_it() -> None:
    model = builders.mlp()

    found = {
        weight.tensor.name: (weight.node.name, weight.position, weight.size_bytes)
        for weight in weights(model)
    }

    assert found == {
        "w1": ("gemm1", 1, 16 * 64 * 4),
        "b1": ("gemm1", 2, 64 * 4),
        "w2": ("gemm2", 1, 64 * 4 * 4),
        "b2": ("gemm2", 2, 16),
    }


def _with_branches() -> onnx.ModelProto:
    """A table that only the branches of an If read, and a constant inside one of them."""
    constant = numpy_helper.from_array(np.ones(3, np.float32), "inner")
    then = helper.make_graph(
        [helper.make_node("Add", ["table", "table"], ["z"], name="add")],
        "t",
        [],
        [builders.value("z", "FP32", (3,))],
    )
    other = helper.make_graph(
        [
            helper.make_node("Constant", [], ["c"], name="constant", value=constant),
            helper.make_node("Identity", ["c"], ["z"], name="copy"),
        ],
        "e",
        [],
        [builders.value("z", "FP32", (3,))],
    )
    node = helper.make_node("If", ["x"], ["y"], name="if", then_branch=then, else_branch=other)
    values = builders.value("x", "BOOL", ()), builders.value("y", "FP32", (3,))
    return builders.build([node], values[:1], values[1:], {"table": np.ones(3, np.float32)})


def test_weights_of_branches_and_constant_nodes_are_found() -> None:
    found = {
        weight.node.name: (weight.size_bytes, weight.shared) for weight in weights(_with_branches())
    }

    assert found == {"add": (12, True), "copy": (12, False)}


def test_a_weight_that_nobody_reads_is_none() -> None:
    model = builders.linear()
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1000, np.float32), "unread"))

    assert "unread" not in {weight.tensor.name for weight in weights(model)}


def test_layers_before_and_after_are_told_by_operator_the_largest_first() -> None:
    before = builders.mlp()
    after = MatMulInt8(rounding="nearest").apply(before, Context())

    found = layer_sizes(before, after)

    assert found[0] == LayerSize("gemm1", "Gemm", 16 * 64 * 4 + 64 * 4, 0)
    assert LayerSize("gemm1", "MatMulInteger", 0, 16 * 64 + 1) in found
    assert {"gemm1", "gemm2"} <= {item.layer for item in found}
    assert sum(item.before_bytes for item in found) == sum(
        weight.size_bytes for weight in weights(before)
    )
    assert sum(item.after_bytes for item in found) == sum(
        weight.size_bytes for weight in weights(after)
    )
