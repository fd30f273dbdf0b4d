"""Channels that only some layers see: where they are made, what carries them, and which layers read
them.

A channel group can be made narrower without touching anything else: one layer makes it, operators
that keep channels apart carry it, and every reader at its end is a layer whose weights can be cut.
Whatever else reads one of its values, such as a residual sum, a normalisation over channels or an
output of the model, means that there is no group.
"""

from collections.abc import Iterable, Mapping

import onnx

from onnxlift.compress.graph.editing import Graph
from onnxlift.compress.graph.layers import Layer, layers, read_inside
from onnxlift.compress.pruning.group import ChannelGroup
from onnxlift.compress.pruning.walk import Shape, Walk
from onnxlift_runtime.errors import RecipeInvalid


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
        return Walk(self._graph, found, self._shapes, self._closed, layer).group()


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """The inferred shapes of values; unknown sizes are None."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else None
            for dim in value.type.tensor_type.shape.dim
        )
        for value in [*inferred.input, *inferred.value_info, *inferred.output]
    }
