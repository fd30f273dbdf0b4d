"""Prune structured: channels and hidden neurons go, the weights are cut, and the layers that read
them are fitted anew.

The graph stays as it is, with smaller weights: it is smaller and faster on any runtime. What a
layer loses with a channel its others take over by least squares on the calibration samples, instead
of being trained again (He, Zhang and Sun, "Channel Pruning", ICCV 2017). Widths that more than one
layer makes, such as those of residual sums, stay.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import onnx

from onnxlift.compress.graph.editing import Graph
from onnxlift.compress.graph.layers import Layer, layers, store
from onnxlift.compress.pruning.channels import Channels
from onnxlift.compress.pruning.elimination import Reader, eliminate
from onnxlift.compress.pruning.group import ChannelGroup, entries, narrow
from onnxlift.compress.pruning.reconstruction import Statistics, gather, solve
from onnxlift.compress.pruning.widths import Widths
from onnxlift.compress.steps import Context, Step
from onnxlift_runtime.errors import RecipeInvalid

_SCORES: Final = ("saliency", "l1", "l2")
_SCOPES: Final = ("model", "layer")


@dataclass(frozen=True)
class PruneStructured(Step):
    """Remove channels between layers until ``share`` of the model's parameters has gone.

    ``score`` "saliency" removes the channels whose loss the layers behind them can best make up
    for, "l1" and "l2" those that are made by the smallest weights. ``scope`` "model" takes them
    where they cost least for each parameter, "layer" the same part of every width. Widths that
    shrink become divisible by ``multiple``: onnxruntime's convolutions compute 16 channels at once
    (8 without AVX-512) and are slower with 24 than with 32. Without ``reconstruct`` readers are
    only cut. ``exclude`` names nodes whose weights stay as they are.
    """

    title = "narrower layers"

    share: float = 0.33
    score: Literal["saliency", "l1", "l2"] = "saliency"
    scope: Literal["model", "layer"] = "model"
    multiple: int = 16
    reconstruct: bool = True
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise RecipeInvalid(f"prune_structured takes a share between 0 and 1, got {self.share}")
        if self.score not in _SCORES or self.scope not in _SCOPES or self.multiple < 1:
            raise RecipeInvalid(
                f"prune_structured takes score {', '.join(_SCORES)}, scope {', '.join(_SCOPES)} "
                f"and a multiple from 1; "
                f"got {self.score!r}, {self.scope!r} and {self.multiple}"
            )

    @property
    def needs_samples(self) -> bool:
        """Whether it looks at calibration samples."""
        return self.reconstruct or self.score == "saliency"

    def apply(self, model: onnx.ModelProto, context: Context) -> onnx.ModelProto:
        """Return a model with narrower layers between the same inputs and outputs.

        Raises ``RecipeInvalid`` when it has no channels to remove, or not enough, and
        ``SamplesInvalid`` when the saliency or the reconstruction has no samples.
        """
        graph = Graph(model)
        channels = Channels(graph, self.exclude)
        groups = channels.groups()
        if not groups:
            raise RecipeInvalid(
                "prune_structured finds no channels that only MatMul, Gemm and Conv nodes with "
                "constant weights read"
            )
        for name, width in self._widths(graph, groups, model, context).items():
            group = channels.group(name)
            if width < group.size:
                self._shrink(graph, group, width, model, context)
        return graph.finish()

    def _widths(
        self, graph: Graph, groups: list[ChannelGroup], model: onnx.ModelProto, context: Context
    ) -> dict[str, int]:
        """How many channels each group keeps."""
        widths = Widths(graph, groups, self.multiple)
        if self.scope == "layer":
            sizes = {group.name: group.size for group in groups}
            return dict(widths.shrink(self.share, lambda name: -widths.kept[name] / sizes[name]))
        costs = {group.name: self._costs(graph, group, model, context) for group in groups}

        def price(name: str) -> float:
            gone = len(costs[name]) - widths.kept[name], len(costs[name]) - widths.narrower(name)
            return float(costs[name][gone[0] : gone[1]].sum()) / widths.saved(name)

        return dict(widths.shrink(self.share, price))

    def _costs(
        self, graph: Graph, group: ChannelGroup, model: onnx.ModelProto, context: Context
    ) -> np.ndarray:
        """What each further channel of a group costs, the cheapest first; the last one is never for
        sale.
        """
        if self.score == "saliency":
            found = self._statistics(graph, group, model, context)
            order = eliminate(_readers(group, found), group.size, group.size - 1)
            return np.array([cost for _, cost in order] + [np.inf])
        norms = np.sort(self._norms(group))
        return np.asarray(norms / max(norms.mean(), 1e-30))

    def _norms(self, group: ChannelGroup) -> np.ndarray:
        power = 1 if self.score == "l1" else 2
        norms: np.ndarray = np.linalg.norm(
            group.producer.weight[0].astype(np.float64), power, axis=0
        )
        return norms

    def _statistics(
        self, graph: Graph, group: ChannelGroup, model: onnx.ModelProto, context: Context
    ) -> list[Statistics]:
        before = {layer.name: layer for layer in layers(Graph(model))}
        pairs = [(before[layer.name], layer) for layer, _ in group.readers]
        return gather(model, graph.model, pairs, context.samples)

    def _shrink(
        self,
        graph: Graph,
        group: ChannelGroup,
        width: int,
        model: onnx.ModelProto,
        context: Context,
    ) -> None:
        found: list[Statistics] = []
        if self.reconstruct or self.score == "saliency":
            found = self._statistics(graph, group, model, context)
        if self.score == "saliency":
            gone = [
                channel
                for channel, _ in eliminate(_readers(group, found), group.size, group.size - width)
            ]
        else:
            gone = np.argsort(self._norms(group), kind="stable")[: group.size - width].tolist()
        channels = np.setdiff1d(np.arange(group.size), gone)
        for index, (layer, block) in enumerate(group.readers):
            self._cut(
                graph, layer, entries(channels, block), found[index] if self.reconstruct else None
            )
        narrow(graph, group, channels)

    def _cut(
        self, graph: Graph, layer: Layer, rows: np.ndarray, statistics: Statistics | None
    ) -> None:
        """Leave only these input rows of a layer, fitted to what it gave with all of them."""
        if statistics is None:
            store(graph, layer, layer.weight[:, rows])
            return
        kept = np.zeros(layer.weight.shape, bool)
        kept[:, rows] = True
        weight = solve(statistics, layer.weight, kept)
        store(graph, layer, weight[:, rows], statistics.intercept(weight))


def _readers(group: ChannelGroup, statistics: list[Statistics]) -> list[Reader]:
    return [
        Reader.of(found, layer.weight, block)
        for (layer, block), found in zip(group.readers, statistics, strict=True)
    ]
