"""Weights stored in fewer bytes than they are computed in: an expression of constants that
onnxruntime folds when it opens a session.

``Cast(int8) * scale`` and ``Cast(float16)`` need no option of the session and hold in every opset,
and in the graphs inside If, Loop and Scan as well. After the fold a session is that of float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxlift.compress.model.inventory import inner_graphs

# Elements that share a scale, at least; fewer would weigh more than they bring.
_FEWEST_SHARING: Final = 8
_STRETCHES: Final = (1.0, 0.95, 0.9, 0.8)
_TOP: Final = 127
_SMALLEST_BLOCK: Final = 16
_LARGEST_BLOCK: Final = 32
# Of the squared error; above it the scales of blocks weigh more than they bring.
_WORTH_BLOCKS: Final = 0.8
_NARROW: Final = (TensorProto.INT8, TensorProto.FLOAT16)


@dataclass(frozen=True)
class Constant:
    """A constant tensor and the graph that it stands in; ``node`` is its Constant node, None for an
    initializer.
    """

    graph: onnx.GraphProto
    name: str
    tensor: onnx.TensorProto
    node: onnx.NodeProto | None = None

    def remove(self) -> None:
        """Take it out of its graph."""
        if self.node is None:
            names = [tensor.name for tensor in self.graph.initializer]
            del self.graph.initializer[names.index(self.name)]
        else:
            outputs = [tuple(node.output) for node in self.graph.node]
            del self.graph.node[outputs.index((self.name,))]


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those inside it, each behind the graphs that it holds."""
    for inner in inner_graphs(graph):
        yield from graphs(inner)
    yield graph


def constants(graph: onnx.GraphProto) -> Iterator[Constant]:
    """The initializers and the Constant nodes of one graph; inputs that may be left out are
    none.
    """
    declared = {value.name for value in graph.input}
    for tensor in list(graph.initializer):
        if tensor.name not in declared:
            yield Constant(graph, tensor.name, tensor)
    for node in list(graph.node):
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            yield Constant(graph, node.output[0], node.attribute[0].t, node)


def store_float16(constant: Constant, weight: np.ndarray) -> None:
    """Keep a weight as float16, cast to float32 under the old name."""
    half = numpy_helper.from_array(weight.astype(np.float16), f"{constant.name}/float16")
    _replace(constant, [half], [_to_float(half.name, constant.name)])


def store_int8(constant: Constant, weight: np.ndarray) -> None:
    """Keep a weight as int8 with the scales of ``to_int8``, multiplied under the old name."""
    whole, scale = to_int8(weight)
    name = constant.name
    stored = numpy_helper.from_array(whole, f"{name}/int8")
    scales = numpy_helper.from_array(scale, f"{name}/scale")
    if whole.shape == weight.shape:
        nodes = [
            _to_float(stored.name, f"{name}/int32"),
            helper.make_node("Mul", [f"{name}/int32", scales.name], [name]),
        ]
        _replace(constant, [stored, scales], nodes)
        return
    shape = numpy_helper.from_array(np.array(weight.shape, np.int64), f"{name}/int64")
    nodes = [
        _to_float(stored.name, f"{name}/int32"),
        _to_float(scales.name, f"{name}/float16"),
        helper.make_node("Mul", [f"{name}/int32", f"{name}/float16"], [f"{name}/bias"]),
        helper.make_node("Reshape", [f"{name}/bias", shape.name], [name]),
    ]
    _replace(constant, [stored, scales, shape], nodes)


def to_int8(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers and scales, which broadcast against them, whose product is near ``weight``.

    The scales are float32 along the axis that loses least: the outputs of most weights, wherever
    their operator has them. A few large values in a channel cost all others their bits; there the
    whole numbers are [blocks, elements] with a float16 scale for each block.
    """
    found = [_along(weight, shared) for shared in _shared_axes(weight)]
    best = min(found, key=lambda pair: _loss(weight, *pair))
    blocks = _in_blocks(weight)
    if blocks is not None and _loss(weight, *blocks) < _WORTH_BLOCKS * _loss(weight, *best):
        return blocks
    return best


def expands_at_load(model: onnx.ModelProto) -> bool:
    """Whether a session must fold constants of this model that are stored in fewer bytes."""
    return any(_expands(graph) for graph in graphs(model.graph))


def _expands(graph: onnx.GraphProto) -> bool:
    narrow = {tensor.name for tensor in graph.initializer if tensor.data_type in _NARROW}
    return any(node.op_type == "Cast" and node.input[0] in narrow for node in graph.node)


def _to_float(narrow: str, name: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [narrow], [name], to=TensorProto.FLOAT)


def _replace(
    constant: Constant, stored: list[onnx.TensorProto], nodes: list[onnx.NodeProto]
) -> None:
    """Put the expression first: it needs nothing, and what follows may need it."""
    constant.remove()
    constant.graph.initializer.extend(stored)
    for position, node in enumerate(nodes):
        constant.graph.node.insert(position, node)


def _shared_axes(weight: np.ndarray) -> list[tuple[int, ...]]:
    """The axes that share a scale: all except one, or the last alone of a stack of matrices."""
    axes = range(weight.ndim)
    kept = [tuple(other for other in axes if other != axis) for axis in axes]
    if weight.ndim == 3:
        kept += [(1,), (2,)]
    sizes = [int(np.prod([weight.shape[axis] for axis in shared])) for shared in kept]
    return [shared for shared, size in zip(kept, sizes, strict=True) if size >= _FEWEST_SHARING]


def _along(weight: np.ndarray, shared: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The scale of each group that loses least, of a few up to the one that spans its values."""
    span = np.abs(weight).max(axis=shared, keepdims=True).astype(np.float32) / _TOP
    span[span == 0] = 1
    scales = [span * np.float32(stretch) for stretch in _STRETCHES]
    losses = [
        np.square(_rounded(weight, scale) * scale - weight).sum(axis=shared, keepdims=True)
        for scale in scales
    ]
    best = np.choose(np.argmin(losses, axis=0), scales).astype(np.float32)
    return _rounded(weight, best).astype(np.int8), best


def _in_blocks(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Blocks of equal size within the entries of the first axis; None where no size fits."""
    length = weight.size // len(weight)
    sizes = [size for size in range(_SMALLEST_BLOCK, _LARGEST_BLOCK + 1) if length % size == 0]
    if not sizes:
        return None
    rows = weight.reshape(-1, sizes[-1])
    span = np.abs(rows).max(axis=1, keepdims=True) / _TOP
    scale = np.minimum(span, np.finfo(np.float16).max).astype(np.float16)
    scale[scale == 0] = 1
    return _rounded(rows, scale.astype(np.float32)).astype(np.int8), scale


def _rounded(weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    whole: np.ndarray = np.clip(np.rint(weight / scale), -_TOP, _TOP)
    return whole


def _loss(weight: np.ndarray, whole: np.ndarray, scale: np.ndarray) -> float:
    restored = whole.astype(np.float32) * scale.astype(np.float32)
    return float(np.square(restored.reshape(weight.shape) - weight).sum())
