"""Widths: how many channels of each group go, so that a share of a model's parameters goes."""

import math
from collections.abc import Callable, Mapping, Sequence

import onnx

from onnxlift.compress.graph.editing import Graph
from onnxlift.compress.pruning.group import ChannelGroup
from onnxlift_runtime.errors import RecipeInvalid


class Widths:
    """The channels that each group keeps, and the number of parameters the model then has.

    A group always keeps at least one channel and, as far as it loses any, a number of them that
    ``multiple`` divides.
    """

    def __init__(self, graph: Graph, groups: Sequence[ChannelGroup], multiple: int) -> None:
        self._groups = {group.name: group for group in groups}
        self._multiple = multiple
        self.kept = {group.name: group.size for group in groups}
        self._weights = {
            layer.name: layer.weight.size
            for group in groups
            for layer in [group.producer, *(reader for reader, _ in group.readers)]
        }
        self._reads = {layer.name: group.name for group in groups for layer, _ in group.readers}
        self._carried = {group.name: _carried_entries(graph, group) for group in groups}
        self.total = parameters(graph.model)
        narrowed = sum(self._weights.values()) + sum(self._carried.values())
        self._fixed = self.total - narrowed

    def narrower(self, name: str) -> int:
        """The next smaller width of a group; 0 where there is none."""
        return (self.kept[name] - 1) // self._multiple * self._multiple

    def size(self) -> float:
        """How many parameters the model has with these widths."""
        weights = (
            count * self._part(name) * self._part(self._reads.get(name))
            for name, count in self._weights.items()
        )
        carried = (count * self._part(name) for name, count in self._carried.items())
        return self._fixed + sum(weights) + sum(carried)

    def saved(self, name: str) -> float:
        """How many parameters one step of a group to its next width saves."""
        before, kept = self.size(), self.kept[name]
        self.kept[name] = self.narrower(name)
        after = self.size()
        self.kept[name] = kept
        return before - after

    def shrink(self, share: float, price: Callable[[str], float]) -> Mapping[str, int]:
        """Narrow the group of the lowest ``price``, again and again, until ``share`` of the
        parameters has gone.

        Steps that turn out not to be needed are taken back, the last first. Raises
        ``RecipeInvalid`` where the groups have not that many parameters.
        """
        taken: list[tuple[str, int]] = []
        limit = (1 - share) * self.total
        while self.size() > limit:
            open_groups = [name for name in self._groups if self.narrower(name) > 0]
            if not open_groups:
                most = 1 - self.size() / self.total
                raise RecipeInvalid(
                    f"prune_structured cannot remove {share:.0%} of the parameters, at most "
                    f"{most:.0%}"
                )
            name = min(open_groups, key=price)
            taken.append((name, self.kept[name]))
            self.kept[name] = self.narrower(name)
        self._take_back(taken, limit)
        return self.kept

    def _take_back(self, taken: list[tuple[str, int]], limit: float) -> None:
        needed: set[str] = set()
        for name, width in reversed(taken):
            narrow = self.kept[name]
            self.kept[name] = narrow if name in needed else width
            if self.size() > limit:
                self.kept[name] = narrow
                needed.add(name)

    def _part(self, name: str | None) -> float:
        return self.kept[name] / self._groups[name].size if name in self._groups else 1.0


def parameters(model: onnx.ModelProto) -> int:
    """How many numbers the constants of a model's main graph hold."""
    constants = [
        item.t for node in model.graph.node if node.op_type == "Constant" for item in node.attribute
    ]
    return sum(math.prod(tensor.dims) for tensor in [*model.graph.initializer, *constants])


def _carried_entries(graph: Graph, group: ChannelGroup) -> int:
    """The entries of the constants, other than layers' weights, that go with the channels."""
    arrays = [
        graph.constant(graph.node(item.node).input[item.position]) for item in group.constants
    ]
    return sum(array.size for array in arrays if array is not None)
