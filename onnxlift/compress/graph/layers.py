"""Layers: MatMul, Gemm and Conv nodes as the matrix product that each computes on rows of its
input.

A row of a Conv is one patch of its input: what the kernel lies on at one position, channel by
channel.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import onnx

from onnxlift.compress.graph.editing import Graph, attributes
from onnxlift.compress.model.reading import walk

_OPERATORS: Final = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Layer:
    """One node's constant weight [groups, inputs, outputs] of float32; all but grouped Convs have
    one group.

    ``kernel`` is the spatial shape of a Conv's kernel and empty for a matrix. ``bias`` tells which
    node reads the constant [outputs] that is added to the product, and where: the layer itself, or
    an Add behind it.
    """

    name: str
    input: str
    output: str
    weight_name: str
    weight: np.ndarray
    kernel: tuple[int, ...] = ()
    transposed: bool = False
    bias: tuple[str, int] | None = None

    @property
    def is_conv(self) -> bool:
        """Whether the layer slides a kernel; its channels then stand before the spatial axes."""
        return bool(self.kernel)

    def stored(self, weight: np.ndarray) -> np.ndarray:
        """A weight [groups, inputs, outputs] in the shape and datatype in which the node keeps its
        own.
        """
        groups, inputs, outputs = weight.shape
        if self.is_conv:
            shape = (groups * outputs, inputs // math.prod(self.kernel), *self.kernel)
            array: np.ndarray = weight.transpose(0, 2, 1).reshape(shape)
        else:
            array = weight[0].T if self.transposed else weight[0]
        return array.astype(self.weight.dtype)


def layers(graph: Graph, exclude: Iterable[str] = ()) -> Iterator[Layer]:
    """Every layer whose weight is its own, in topological order, but for the named ones.

    A weight that several nodes read, or that is an output of the graph, belongs to no layer alone.
    """
    skipped = set(exclude)
    projections = {item.name: item for item in graph.projections(skipped)}
    for node in graph.nodes:
        if node.name in skipped or not _owns_weight(graph, node):
            continue
        if node.name in projections:
            item = projections[node.name]
            yield _layer(graph, node, item.weight[np.newaxis], transposed=item.transposed)
        elif node.op_type == "Conv" and (array := graph.constant(node.input[1])) is not None:
            groups = attributes(node).get("group", 1)
            if array.dtype == np.float32 and array.ndim > 2:
                weight = array.reshape(groups, len(array) // groups, -1).transpose(0, 2, 1)
                yield _layer(graph, node, weight, kernel=array.shape[2:])


def _owns_weight(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a layer's node alone reads its second input, and only there."""
    if node.op_type not in _OPERATORS or node.domain not in ("", "ai.onnx"):
        return False
    value, weight = node.input[:2]
    readers = graph.consumers[weight]
    return len(readers) == 1 and weight not in graph.outputs and value != weight


def _layer(
    graph: Graph,
    node: onnx.NodeProto,
    weight: np.ndarray,
    *,
    kernel: tuple[int, ...] = (),
    transposed: bool = False,
) -> Layer:
    bias = _bias(graph, node, weight.shape[0] * weight.shape[2])
    return Layer(
        node.name, node.input[0], node.output[0], node.input[1], weight, kernel, transposed, bias
    )


def _bias(graph: Graph, node: onnx.NodeProto, outputs: int) -> tuple[str, int] | None:
    """The node's own bias, or that of the Add which alone reads a product, where it is a constant
    [outputs].
    """
    holder, position = node, 2
    if len(node.input) < 3 or not node.input[2]:
        readers = graph.consumers.get(node.output[0], [])
        if node.op_type == "Conv" or len(readers) != 1 or readers[0].op_type != "Add":
            return None
        if node.output[0] in graph.outputs or list(readers[0].input).count(node.output[0]) > 1:
            return None
        holder, position = readers[0], 1 - list(readers[0].input).index(node.output[0])
    array = graph.constant(holder.input[position])
    return (holder.name, position) if array is not None and array.shape == (outputs,) else None


def store(
    graph: Graph, layer: Layer, weight: np.ndarray, intercept: np.ndarray | None = None
) -> None:
    """Give a layer another weight [groups, inputs, outputs] and, where it has a bias, the
    ``intercept`` [outputs].

    The intercept takes the place of the layer's own bias, or is added to that of the Add behind it.
    """
    replace(graph, graph.node(layer.name), 1, layer.stored(weight))
    if layer.bias is None or intercept is None:
        return
    holder, position = graph.node(layer.bias[0]), layer.bias[1]
    old = graph.constant(holder.input[position])
    assert old is not None
    bias = intercept if holder.name == layer.name else intercept + old
    replace(graph, holder, position, bias.astype(old.dtype))


def replace(graph: Graph, node: onnx.NodeProto, position: int, array: np.ndarray) -> None:
    """Let ``node`` read another constant; the old one goes where nobody else reads it."""
    old = node.input[position]
    graph.set_constant(old, array, [node])
    producer = graph.producers.get(old)
    if producer is None or old in graph.consumers:
        return
    if old not in graph.outputs | read_inside(graph.nodes):
        graph.remove_node(producer.name)


def read_inside(nodes: Iterable[onnx.NodeProto]) -> frozenset[str]:
    """The values that graphs inside nodes, such as the branches of an If, may read from outside."""
    inner = [item for node in nodes for item in node.attribute]
    read = {name for item in inner for node in walk(item, onnx.NodeProto) for name in node.input}
    given = {
        value.name
        for item in inner
        for found in walk(item, onnx.GraphProto)
        for value in found.output
    }
    return frozenset(read | given)


def expose_rows(
    model: onnx.ModelProto, found: Sequence[Layer], side: Literal["inputs", "outputs"]
) -> tuple[onnx.ModelProto, list[str]]:
    """A copy of ``model`` up to the layers, and the names of their rows [..., groups * inputs] or
    [..., outputs].

    A Conv's patches are cut by a Conv of one-hot kernels with the same paddings, strides and
    dilations.
    """
    graph = Graph(model)
    rows = _input_rows if side == "inputs" else _output_rows
    names = [rows(graph, layer) for layer in found]
    _stop_at(graph, names)
    return graph.finish(), names


def _stop_at(graph: Graph, names: Sequence[str]) -> None:
    """Drop every node that none of the names needs: onnxruntime would run it."""
    needed, left = set(names), list(names)
    while left:
        node = graph.producers.get(left.pop())
        if node is not None:
            fresh = {*node.input, *read_inside([node])} - needed
            needed |= fresh
            left.extend(fresh)
    for node in [node for node in graph.nodes if needed.isdisjoint(node.output)]:
        graph.model.graph.node.remove(node)
    graph.reindex()


def _output_rows(graph: Graph, layer: Layer) -> str:
    return _channels_last(graph, layer.output, layer) if layer.is_conv else layer.output


def _input_rows(graph: Graph, layer: Layer) -> str:
    if not layer.is_conv:
        return layer.input
    patches, size = graph.fresh(f"{layer.name}/patches"), math.prod(layer.kernel)
    channels = layer.weight.shape[0] * layer.weight.shape[1] // size
    kernels = np.eye(size, dtype=np.float32).reshape(size, 1, *layer.kernel)
    one_hot = np.tile(kernels, (channels, *(1 for _ in kernels.shape[1:])))
    weight = graph.add_constant(f"{patches}/kernels", one_hot)
    settings = attributes(graph.node(layer.name)) | {"group": channels}
    graph.add_node("Conv", [layer.input, weight], [patches], **settings)
    return _channels_last(graph, patches, layer)


def _channels_last(graph: Graph, value: str, layer: Layer) -> str:
    turned = graph.fresh(f"{value}/rows")
    spatial = range(2, 2 + len(layer.kernel))
    graph.add_node("Transpose", [value], [turned], perm=[0, *spatial, 1])
    graph.reindex()
    return turned
