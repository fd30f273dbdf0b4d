"""Follow the channels of one layer through a graph, up to the layers that read them."""

import math
from collections.abc import Mapping
from typing import Final, TypeAlias

import numpy as np
import onnx

from onnxlift.compress.graph.editing import Graph, attributes
from onnxlift.compress.graph.layers import Layer
from onnxlift.compress.pruning.group import ChannelGroup, Constant, Span

_UNARY: Final = frozenset({
    "Abs", "Celu", "Clip", "Dropout", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "Mish", "Neg", "QuickGelu", "Relu", "Selu", "Sigmoid", "Softplus",
    "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu",
})  # fmt: skip
_BINARY: Final = frozenset(("Add", "Div", "Max", "Min", "Mul", "Pow", "PRelu", "Sub"))
_POOLS: Final = frozenset(
    ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "MaxPool")
)
_DOMAINS: Final = ("", "ai.onnx", "com.microsoft")

Shape: TypeAlias = tuple[int | None, ...]
"""A value's inferred shape; unknown sizes are None."""


class Walk:
    """Follows the channels of one layer through the nodes that carry them, until layers read
    them.
    """

    def __init__(
        self,
        graph: Graph,
        found: Mapping[str, Layer],
        shapes: Mapping[str, Shape],
        closed: frozenset[str],
        producer: Layer,
    ) -> None:
        self._graph, self._layers, self._shapes, self._closed = graph, found, shapes, closed
        self._group = ChannelGroup(producer, producer.weight.shape[2])
        self._spans = {producer.output: Span(-1 - len(producer.kernel))}

    def group(self) -> ChannelGroup | None:
        """The whole group, or None where something reads a channel that cannot do with fewer."""
        producer = self._graph.node(self._group.name)
        whole = self._own_bias(producer) and all(map(self._follow, self._graph.nodes))
        ends_inside = self._closed.isdisjoint(self._spans)
        return self._group if whole and ends_inside and self._group.readers else None

    def _own_bias(self, node: onnx.NodeProto) -> bool:
        """Note a layer's own bias; false for one that cannot be made narrower."""
        return len(node.input) < 3 or not node.input[2] or self._constant(node, 2, Span(-1))

    def _follow(self, node: onnx.NodeProto) -> bool:
        """Let the node's output carry the channels that it reads, or make it a reader; false where
        it can do neither.
        """
        if self._spans.keys().isdisjoint(node.input):
            return True
        if node.domain not in _DOMAINS or len(node.output) > 1:
            return False
        if node.op_type in _BINARY:
            return self._binary(node)
        span = self._spans.get(node.input[0])
        if span is None or not self._spans.keys().isdisjoint(node.input[1:]):
            return False
        if node.name in self._layers and self._read(self._layers[node.name], span):
            return True
        carried = self._carried(node, span)
        if carried is not None:
            self._spans[node.output[0]] = carried
        return carried is not None

    def _carried(self, node: onnx.NodeProto, span: Span) -> Span | None:
        """Where the node's output keeps the channels."""
        match node.op_type:
            case operator if operator in _UNARY:
                return span
            case operator if operator in _POOLS:
                return span if span.axis < -1 else None
            case "BatchNormalization":
                return self._batch_norm(node, span)
            case "Conv":
                return self._depthwise(node, span)
            case "Flatten":
                return self._flatten(node, span)
            case "ReduceMean":
                return self._reduce(node, span)
            case "Reshape":
                return self._reshape(node, span)
            case _:
                return None

    def _binary(self, node: onnx.NodeProto) -> bool:
        """Both inputs carry the channels alike, or the one that does not is a constant."""
        spans = [self._spans.get(name) for name in node.input]
        different = set(filter(None, spans))
        if len(different) > 1:
            return False
        self._spans[node.output[0]] = span = different.pop()
        return all(
            found or self._constant(node, position, span) for position, found in enumerate(spans)
        )

    def _constant(self, node: onnx.NodeProto, position: int, span: Span) -> bool:
        """Note a constant that has entries for the channels; false for what is none or has another
        number of them.
        """
        array = self._graph.constant(node.input[position])
        if array is None:
            return False
        size = array.shape[span.axis] if array.ndim >= -span.axis else 1
        if size == self._group.size * span.block:
            self._group.constants.append(Constant(node.name, position, span.axis, span.block))
            return True
        return bool(size == 1)

    def _batch_norm(self, node: onnx.NodeProto, span: Span) -> Span | None:
        """Its channels stand on axis 1."""
        rank = len(self._shapes.get(node.input[0], ()))
        if rank != 1 - span.axis:
            return None
        entries = Span(-1, span.block)
        narrows = all(self._constant(node, position, entries) for position in range(1, 5))
        return span if narrows else None

    def _depthwise(self, node: onnx.NodeProto, span: Span) -> Span | None:
        """A Conv with one kernel for each channel and no sums over them."""
        weight = self._graph.constant(node.input[1])
        if weight is None or len(self._graph.consumers[node.input[1]]) > 1:
            return None
        size, groups = self._group.size, attributes(node).get("group", 1)
        one_each = weight.shape[:2] == (size, 1) and groups == size
        if not one_each or span != Span(1 - weight.ndim):
            return None
        self._group.depthwise.append(node.name)
        narrows = self._constant(node, 1, Span(-weight.ndim)) and self._own_bias(node)
        return span if narrows else None

    def _flatten(self, node: onnx.NodeProto, span: Span) -> Span | None:
        block = self._flat_block(node.input[0], span)
        return Span(-1, block) if block and attributes(node).get("axis", 1) == 1 else None

    def _reshape(self, node: onnx.NodeProto, span: Span) -> Span | None:
        """A Reshape that does what Flatten does, whose target may count the channels."""
        block = self._flat_block(node.input[0], span)
        target = self._graph.constant(node.input[1])
        if block is None or target is None or target.shape != (2,):
            return None
        batch = self._shapes[node.input[0]][0]
        whole = self._group.size * block
        if target[0] not in (0, -1, batch) or target[1] not in (-1, whole):
            return None
        if target[1] == whole:
            self._group.reshapes.append((node.name, block))
        return Span(-1, block)

    def _reduce(self, node: onnx.NodeProto, span: Span) -> Span | None:
        """A mean over all positions: global pooling."""
        rank = 1 - span.axis
        if span.axis == -1 or self._reduced_axes(node, rank) != set(range(2, rank)):
            return None
        keeps_rank = attributes(node).get("keepdims", 1)
        return span if keeps_rank else Span(-1, span.block)

    def _reduced_axes(self, node: onnx.NodeProto, rank: int) -> set[int]:
        """The axes as the node's input or attribute names them; none where it leaves them out."""
        named = attributes(node).get("axes")
        axes = self._graph.constant(node.input[1]) if len(node.input) > 1 else named
        return set() if axes is None else {int(axis) % rank for axis in np.ravel(axes)}

    def _flat_block(self, value: str, span: Span) -> int | None:
        """How many neighbours belong to one channel when all axes but the first become one; None
        where unknown.
        """
        shape = self._shapes.get(value, ())
        inner = shape[len(shape) + span.axis + 1 :]
        sizes = [size for size in inner if size is not None]
        known = len(shape) == 1 - span.axis and len(sizes) == len(inner)
        return span.block * math.prod(sizes) if known else None

    def _read(self, layer: Layer, span: Span) -> bool:
        """Make a layer whose inputs are the channels, and nothing else, a reader of them."""
        groups, inputs, _ = layer.weight.shape
        # Neighbours are on the last axis alone, where no Conv keeps its channels: one of the two
        # factors is 1.
        block = span.block * math.prod(layer.kernel)
        on_channels = span.axis == -1 - len(layer.kernel)
        if groups > 1 or not on_channels or inputs != self._group.size * block:
            return False
        self._group.readers.append((layer, block))
        return True
