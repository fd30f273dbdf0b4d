"""A channel group: the channels that one layer makes, what carries them, and which layers read
them.
"""

from dataclasses import dataclass, field

import numpy as np

from onnxlift.compress.graph.editing import Graph
from onnxlift.compress.graph.layers import Layer, replace


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
        kept = np.take(array, entries(channels, item.block), axis=item.axis)
        replace(graph, node, item.position, kept)
    for name in group.depthwise:
        [attribute] = [item for item in graph.node(name).attribute if item.name == "group"]
        attribute.i = len(channels)
    for name, block in group.reshapes:
        node = graph.node(name)
        target = np.array(graph.constant(node.input[1]))
        target[1] = len(channels) * block
        replace(graph, node, 1, target)


def entries(channels: np.ndarray, block: int) -> np.ndarray:
    """The positions of all that belongs to ``channels`` where each has ``block`` neighbours."""
    positions: np.ndarray = (channels[:, None] * block + np.arange(block)).reshape(-1)
    return positions
