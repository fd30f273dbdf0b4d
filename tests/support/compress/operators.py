"""One operator with a large weight each, at the top of a graph and inside the body of another."""

from collections.abc import Callable
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxlift.compress.graph.storage import graphs
from tests.support.builders import build, value

_WIDTH: Final = 32


def _random(*size: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=size, scale=0.1).astype(np.float32)


def _one(node: onnx.NodeProto, weights: dict[str, np.ndarray], *shape: int) -> onnx.ModelProto:
    """``x`` FP32 through one node to ``y``, of which no size is declared."""
    rank = 4 if node.op_type in ("LSTM", "GRU", "RNN") else len(shape)
    return build([node], [value("x", "FP32", shape)], [_unknown("y", rank)], weights)


def _unknown(name: str, rank: int = 2) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank)


def _recurrent(operator: str, gates: int) -> onnx.ModelProto:
    node = helper.make_node(
        operator, ["x", "w", "r"], ["y"], name="cell", direction="bidirectional", hidden_size=_WIDTH
    )
    weights = {
        "w": _random(2, gates * _WIDTH, _WIDTH),
        "r": _random(2, gates * _WIDTH, _WIDTH),
    }
    return _one(node, weights, 5, 2, _WIDTH)


def matmul() -> onnx.ModelProto:
    """``x`` FP32 [2, 32] times ``w`` [32, 32]."""
    return _one(helper.make_node("MatMul", ["x", "w"], ["y"]), {"w": _random(32, 32)}, 2, 32)


def gemm() -> onnx.ModelProto:
    """The same by a Gemm of the transposed weight."""
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    return _one(node, {"w": _random(32, 32)}, 2, 32)


def conv() -> onnx.ModelProto:
    """A grouped Conv of ``x`` [1, 8, 6, 6] with ``w`` [16, 4, 3, 3]."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=2)
    return _one(node, {"w": _random(16, 4, 3, 3)}, 1, 8, 6, 6)


def conv_transpose() -> onnx.ModelProto:
    """A ConvTranspose of ``x`` [1, 8, 6, 6] with ``w`` [8, 16, 3, 3]."""
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"])
    return _one(node, {"w": _random(8, 16, 3, 3)}, 1, 8, 6, 6)


def lstm() -> onnx.ModelProto:
    """An LSTM in both directions over ``x`` [5, 2, 32]."""
    return _recurrent("LSTM", 4)


def gru() -> onnx.ModelProto:
    """A GRU, as ``lstm``."""
    return _recurrent("GRU", 3)


def rnn() -> onnx.ModelProto:
    """An RNN, as ``lstm``."""
    return _recurrent("RNN", 1)


def gather() -> onnx.ModelProto:
    """Rows of a table [64, 32] by ``x`` INT64 [5]."""
    node = helper.make_node("Gather", ["table", "x"], ["y"])
    given = [value("x", "INT64", (5,))]
    return build([node], given, [_unknown("y")], {"table": _random(64, 32)})


OPERATORS: Final[tuple[Callable[[], onnx.ModelProto], ...]] = (
    matmul,
    gemm,
    conv,
    conv_transpose,
    lstm,
    gru,
    rnn,
    gather,
)


def _product(name: str, source: str) -> tuple[onnx.NodeProto, onnx.TensorProto]:
    weight = helper.make_tensor(
        f"{name}_weight", TensorProto.FLOAT, [32, 32], _random(32, 32).tobytes(), raw=True
    )
    return helper.make_node("MatMul", [source, weight.name], [name]), weight


def branches() -> onnx.ModelProto:
    """An If on the sum of ``x`` FP32 [2, 32]: either branch multiplies by a weight of its own, one
    an initializer and one a Constant.
    """
    first, weight = _product("then_y", "x")
    then = helper.make_graph([first], "then", [], [_unknown("then_y")], [weight])
    second, other = _product("else_y", "x")
    constant = helper.make_node("Constant", [], [other.name], value=other)
    otherwise = helper.make_graph([constant, second], "otherwise", [], [_unknown("else_y")])
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=then, else_branch=otherwise),
    ]
    given = [value("x", "FP32", (2, 32))]
    return build(nodes, given, [value("y", "FP32", (2, 32))], {"zero": np.array(0, np.float32)})


def loop() -> onnx.ModelProto:
    """A Loop that multiplies ``x`` FP32 [2, 32] three times by a weight of its body."""
    product, weight = _product("next", "state")
    body = helper.make_graph(
        [product, helper.make_node("Identity", ["going"], ["goes_on"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            value("state", "FP32", (2, 32)),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            value("next", "FP32", (2, 32)),
        ],
        [weight],
    )
    node = helper.make_node("Loop", ["count", "", "x"], ["y"], body=body)
    given, made = [value("x", "FP32", (2, 32))], [value("y", "FP32", (2, 32))]
    return build([node], given, made, {"count": np.array(3)})


def scan() -> onnx.ModelProto:
    """A Scan over the rows of ``x`` FP32 [2, 1, 32] with a weight of its body."""
    product, weight = _product("row_y", "row")
    body = helper.make_graph(
        [product],
        "body",
        [value("row", "FP32", (1, 32))],
        [value("row_y", "FP32", (1, 32))],
        [weight],
    )
    node = helper.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)
    return build([node], [value("x", "FP32", (2, 1, 32))], [value("y", "FP32", (2, 1, 32))])


BODIES: Final[tuple[Callable[[], onnx.ModelProto], ...]] = (branches, loop, scan)


def declared_weights() -> onnx.ModelProto:
    """As exporters wrote before version 4 of the format."""
    model = conv()
    model.ir_version = 3
    model.opset_import[0].version = 7
    model.graph.input.append(value("w", "FP32", (16, 4, 3, 3)))
    return model


def in_floats(model: onnx.ModelProto, kind: int) -> onnx.ModelProto:
    """Bring a model to another kind of float, its inputs and outputs too."""
    wanted = helper.tensor_dtype_to_np_dtype(kind)
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            if tensor.data_type == TensorProto.FLOAT:
                array = numpy_helper.to_array(tensor)
                tensor.CopyFrom(numpy_helper.from_array(array.astype(wanted), tensor.name))
        for node in graph.node:
            if node.op_type == "Constant":
                array = numpy_helper.to_array(node.attribute[0].t)
                held = numpy_helper.from_array(array.astype(wanted), node.output[0])
                node.attribute[0].t.CopyFrom(held)
        for item in (*graph.input, *graph.output):
            if item.type.tensor_type.elem_type == TensorProto.FLOAT:
                item.type.tensor_type.elem_type = kind
    return model
