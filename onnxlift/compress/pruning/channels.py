"""Channels that only some layers see: where they are made, what carries them, and which layers read
them.

A channel group can be made narrower without touching anything else: one layer makes it, operators
that keep channels apart carry it, and every reader at its end is a layer whose weights can be cut.
Whatever else reads one of its values, such as a residual sum, a normalisation over channels or an
output of the model, means that there is no group.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import onnx

from onnxlift.compress.graph.editing import Graph, attributes
from onnxlift.compress.graph.layers import Layer, layers, read_inside, replace
from onnxlift_runtime.errors import RecipeInvalid

_UNARY: Final = frozenset(
    (
        *(
            "Abs",
            "Celu",
            "Clip",
            "Dropout",
            "Elu",
            "Erf",
            "Exp",
            "Gelu",
            "HardSigmoid",
            "HardSwish",
            "Identity",
        ),
        *(
            "LeakyRelu",
            "Mish",
            "Neg",
            "QuickGelu",
            "Relu",
            "Selu",
            "Sigmoid",
            "Softplus",
            "Softsign",
            "Sqrt",
        ),
        *("Swish", "Tanh", "ThresholdedRelu"),
    )
)
_BINARY: Final = frozenset(("Add", "Div", "Max", "Min", "Mul", "Pow", "PRelu", "Sub"))
_POOLS: Final = frozenset(
    ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "MaxPool")
)
_DOMAINS: Final = ("", "ai.onnx", "com.microsoft")

_Shape: TypeAlias = tuple[int | None, ...]


@dataclass(frozen=True)
class Span:
    """Where a value keeps the channels: on which axis, counted from the end, and how many
    neighbours are one's own.
    """

    axis: int
    block: int = 1


@dataclass(frozen=True)
class Constant:
    """A constant input of a node that has an entry, or ``block`` neighbouring ones, for each
    channel on ``axis``.
    """

    node: str
    position: int
    axis: int
    block: int


@dataclass
class ChannelGroup:
    """``size`` channels, the layer that makes them, and the layers that read them with the inputs
    each has for one.
    """

    producer: Layer
    size: int
    readers: list[tuple[Layer, int]] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    depthwise: list[str] = field(default_factory=list)
    reshapes: list[tuple[str, int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The producer's name."""
        return self.producer.name


class Channels:
    """The channel groups of a graph; narrowing some leaves what is known about its shapes true
    enough for the others.

    A group whose producer or a reader is among the ``exclude`` nodes is none.
    """

    def __init__(self, graph: Graph, exclude: Iterable[str] = ()) -> None:
        self._graph, self._exclude = graph, tuple(exclude)
        self._shapes = _shapes(graph.model)
        self._closed = graph.outputs | read_inside(graph.nodes)

    def groups(self) -> list[ChannelGroup]:
        """Every group, in topological order of the producers."""
        found = {layer.name: layer for layer in layers(self._graph, self._exclude)}
        groups = (self._group(layer, found) for layer in found.values())
        return [group for group in groups if group is not None]

    def group(self, name: str) -> ChannelGroup:
        """The group that this layer makes, with the weights as they are now; raises
        ``RecipeInvalid`` without one.
        """
        found = {layer.name: layer for layer in layers(self._graph, self._exclude)}
        group = self._group(found[name], found) if name in found else None
        if group is None:
            raise RecipeInvalid(f"node {name!r} makes no channels that other layers alone read")
        return group

    def _group(self, layer: Layer, found: Mapping[str, Layer]) -> ChannelGroup | None:
        if len(layer.weight) > 1 or layer.weight.shape[2] == 1:
            return None
        return _Walk(self._graph, found, self._shapes, self._closed, layer).group()


def narrow(graph: Graph, group: ChannelGroup, channels: np.ndarray) -> None:
    """Leave only ``channels`` of a group in its producer and in what carries it; its readers are
    cut by the caller.
    """
    producer = graph.node(group.producer.name)
    replace(graph, producer, 1, group.producer.stored(group.producer.weight[:, :, channels]))
    for item in group.constants:
        node = graph.node(item.node)
        array = graph.constant(node.input[item.position])
        assert array is not None
        replace(
            graph,
            node,
            item.position,
            np.take(array, entries(channels, item.block), axis=item.axis),
        )
    for name in group.depthwise:
        _set_group(graph.node(name), len(channels))
    for name, block in group.reshapes:
        node = graph.node(name)
        target = np.array(graph.constant(node.input[1]))
        target[1] = len(channels) * block
        replace(graph, node, 1, target)


def entries(channels: np.ndarray, block: int) -> np.ndarray:
    """The positions of all that belongs to ``channels`` where each has ``block`` neighbours."""
    positions: np.ndarray = (channels[:, None] * block + np.arange(block)).reshape(-1)
    return positions


class _Walk:
    """Follows the channels of one layer through the nodes that carry them, until layers read
    them.
    """

    def __init__(
        self,
        graph: Graph,
        found: Mapping[str, Layer],
        shapes: Mapping[str, _Shape],
        closed: frozenset[str],
        producer: Layer,
    ) -> None:
        self._graph, self._layers, self._shapes, self._closed = graph, found, shapes, closed
        self._group = ChannelGroup(producer, producer.weight.shape[2])
        self._spans = {producer.output: Span(-1 - len(producer.kernel))}

    def group(self) -> ChannelGroup | None:
        """The whole group, or None where something reads a channel that cannot do with fewer."""
        if not self._own_bias():
            return None
        for node in self._graph.nodes:
            if any(name in self._spans for name in node.input) and not self._follow(node):
                return None
        open_ended = self._closed & self._spans.keys()
        return self._group if self._group.readers and not open_ended else None

    def _own_bias(self) -> bool:
        node = self._graph.node(self._group.name)
        return len(node.input) < 3 or not node.input[2] or self._constant(node, 2, Span(-1))

    def _follow(self, node: onnx.NodeProto) -> bool:
        """Let the node's output carry the channels, or make it a reader; false where it can do
        neither.
        """
        span = self._spans.get(node.input[0])
        if node.domain not in _DOMAINS or len(node.output) > 1:
            return False
        if node.op_type in _BINARY:
            return self._binary(node)
        if span is None or any(name in self._spans for name in node.input[1:]):
            return False
        if node.name in self._layers and self._read(self._layers[node.name], span):
            return True
        carried = self._carried(node, span)
        if carried is not None:
            self._spans[node.output[0]] = carried
        return carried is not None

    def _carried(self, node: onnx.NodeProto, span: Span) -> Span | None:
        """Where the node's output keeps the channels."""
        if node.op_type in _UNARY:
            return span
        if node.op_type in _POOLS:
            return span if span.axis < -1 else None
        rules: Mapping[str, Callable[[onnx.NodeProto, Span], Span | None]] = {
            "BatchNormalization": self._batch_norm,
            "Conv": self._depthwise,
            "Flatten": self._flatten,
            "ReduceMean": self._reduce,
            "Reshape": self._reshape,
        }
        return rules[node.op_type](node, span) if node.op_type in rules else None

    def _binary(self, node: onnx.NodeProto) -> bool:
        spans = {self._spans[name] for name in node.input if name in self._spans}
        if len(spans) > 1:
            return False
        [span] = spans
        others = [position for position, name in enumerate(node.input) if name not in self._spans]
        self._spans[node.output[0]] = span
        return all(self._constant(node, position, span) for position in others)

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
        return (
            span
            if all(self._constant(node, position, Span(-1, span.block)) for position in range(1, 5))
            else None
        )

    def _depthwise(self, node: onnx.NodeProto, span: Span) -> Span | None:
        """A Conv with one kernel for each channel and no sums over them."""
        weight = self._graph.constant(node.input[1])
        if (
            weight is None
            or weight.shape[:2] != (self._group.size, 1)
            or span != Span(1 - weight.ndim)
        ):
            return None
        if (
            attributes(node).get("group", 1) != self._group.size
            or len(self._graph.consumers[node.input[1]]) > 1
        ):
            return None
        self._group.depthwise.append(node.name)
        biases = [2] if len(node.input) > 2 and node.input[2] else []
        kernels = self._constant(node, 1, Span(-weight.ndim))
        return (
            span
            if kernels and all(self._constant(node, position, Span(-1)) for position in biases)
            else None
        )

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
        found = attributes(node)
        axes = self._graph.constant(node.input[1]) if len(node.input) > 1 else found.get("axes")
        rank = 1 - span.axis
        if (
            axes is None
            or {int(axis) % rank for axis in np.ravel(axes)} != set(range(2, rank))
            or span.axis == -1
        ):
            return None
        return span if found.get("keepdims", 1) else Span(-1, span.block)

    def _flat_block(self, value: str, span: Span) -> int | None:
        """How many neighbours belong to one channel when all axes but the first become one; None
        where unknown.
        """
        shape = self._shapes.get(value, ())
        inner = shape[len(shape) + span.axis + 1 :]
        if len(shape) != 1 - span.axis or any(size is None for size in inner):
            return None
        return span.block * math.prod(size for size in inner if size is not None)

    def _read(self, layer: Layer, span: Span) -> bool:
        inputs = layer.weight.shape[1]
        if len(layer.weight) > 1 or span.axis != -1 - len(layer.kernel):
            return False
        block = math.prod(layer.kernel) if layer.is_conv else span.block
        if inputs != self._group.size * block or (layer.is_conv and span.block > 1):
            return False
        self._group.readers.append((layer, block))
        return True


def _set_group(node: onnx.NodeProto, channels: int) -> None:
    for item in node.attribute:
        if item.name == "group":
            item.i = channels


def _shapes(model: onnx.ModelProto) -> dict[str, _Shape]:
    """The inferred shapes of values; unknown sizes are None."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else None
            for dim in value.type.tensor_type.shape.dim
        )
        for value in [*inferred.input, *inferred.value_info, *inferred.output]
    }
