"""Prune: the smallest weights become 0 and, by least squares, the others take over what those did.

The file keeps its size and the model its speed; zeros are cheap in what is stored or shipped
compressed. Han et al., "Learning both Weights and Connections", NeurIPS 2015, for the magnitudes;
the survivors are fitted layer by layer to the layer's old outputs (He, Zhang and Sun, "Channel
Pruning", ICCV 2017) instead of being trained again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import onnx

from onnxlift.compress.graph.editing import Graph, by_input
from onnxlift.compress.graph.layers import Layer, layers, store
from onnxlift.compress.pruning.reconstruction import Statistics, gather, solve
from onnxlift.compress.steps import Context, Step
from onnxlift_runtime.errors import RecipeInvalid

_SCORES: Final = ("magnitude", "l1", "l2")
_SCOPES: Final = ("model", "layer")


@dataclass(frozen=True)
class Prune(Step):
    """Set weights of MatMul, Gemm and Conv nodes to 0, and fit those that are left to the
    calibration samples.

    ``sparsity`` is the share of weights to set to 0, ``threshold`` the score under which a weight
    becomes 0; exactly one is given. ``score``: "magnitude" is a weight's absolute value, "l1" and
    "l2" divide it by the mean absolute value or the root mean square of its layer, so that layers
    of unlike scale compare. ``scope`` "model" ranks all weights together, "layer" takes the same
    share of each. With ``reconstruct`` the weights of a layer go in ``rounds``, each chosen after
    the others have taken over for the last. ``exclude`` names nodes to leave alone.
    """

    title = "weights set to 0"

    sparsity: float | None = None
    threshold: float | None = None
    score: Literal["magnitude", "l1", "l2"] = "magnitude"
    scope: Literal["model", "layer"] = "model"
    reconstruct: bool = True
    rounds: int = 8
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.sparsity is None) == (self.threshold is None):
            raise RecipeInvalid("prune takes either a sparsity or a threshold")
        if self.sparsity is not None and not 0 < self.sparsity < 1:
            raise RecipeInvalid(f"prune takes a sparsity between 0 and 1, got {self.sparsity}")
        if self.threshold is not None and self.threshold <= 0:
            raise RecipeInvalid(f"prune takes a threshold above 0, got {self.threshold}")
        if self.score not in _SCORES or self.scope not in _SCOPES or self.rounds < 1:
            raise RecipeInvalid(
                f"prune takes score {', '.join(_SCORES)}, scope {', '.join(_SCOPES)} and at least "
                f"1 round; "
                f"got {self.score!r}, {self.scope!r} and {self.rounds}"
            )

    @property
    def needs_samples(self) -> bool:
        """Whether it looks at calibration samples."""
        return self.reconstruct

    def apply(self, model: onnx.ModelProto, context: Context) -> onnx.ModelProto:
        """Return a model of the same shape whose weights are sparse.

        Raises ``RecipeInvalid`` when no weight would become 0, ``SamplesInvalid`` when
        reconstruction has no samples.
        """
        graph = Graph(model)
        found = list(layers(graph, self.exclude))
        counts = self._counts(found)
        if not any(counts.values()):
            raise RecipeInvalid(
                "prune finds no weight of a MatMul, Gemm or Conv to set to 0 in this model"
            )
        if not self.reconstruct:
            for layer in (item for item in found if counts[item.name]):
                store(graph, layer, layer.weight * kept(layer.weight, counts[layer.name]))
            return graph.finish()
        first = next(index for index, layer in enumerate(found) if counts[layer.name])
        for members in by_input(found[first:]).values():
            pairs = [(member, member) for member in members]
            for member, seen in zip(
                members, gather(model, graph.model, pairs, context.samples), strict=True
            ):
                weight = self._reconstruct(member.weight, seen, counts[member.name])
                store(graph, member, weight, seen.intercept(weight))
        return graph.finish()

    def _counts(self, found: Sequence[Layer]) -> dict[str, int]:
        """How many weights of each layer become 0."""
        scores = [self._scores(layer.weight).reshape(-1) for layer in found]
        if self.sparsity is None:
            zeros = [int((item < self.threshold).sum()) for item in scores]
        elif self.scope == "layer" or not scores:
            zeros = [round(self.sparsity * len(item)) for item in scores]
        else:
            owners = np.repeat(np.arange(len(scores)), [len(item) for item in scores])
            smallest = np.argsort(np.concatenate(scores), kind="stable")[
                : round(self.sparsity * len(owners))
            ]
            zeros = np.bincount(owners[smallest], minlength=len(scores)).tolist()
        return {layer.name: count for layer, count in zip(found, zeros, strict=True)}

    def _scores(self, weight: np.ndarray) -> np.ndarray:
        scores: np.ndarray = np.abs(weight)
        if self.score == "l1":
            return scores / max(float(scores.mean()), 1e-30)
        if self.score == "l2":
            return scores / max(float(np.sqrt(np.square(scores).mean())), 1e-30)
        return scores

    def _reconstruct(self, before: np.ndarray, statistics: Statistics, count: int) -> np.ndarray:
        """The weight with ``count`` zeros, set round by round; the others take over after each."""
        weight = before.astype(np.float64)
        for share in 1 - (1 - np.arange(1, self.rounds + 1) / self.rounds) ** 3:
            weight = solve(statistics, before, kept(weight, round(float(share) * count)))
        return weight


def kept(weight: np.ndarray, count: int) -> np.ndarray:
    """A mask of ``weight``'s shape, false for its ``count`` smallest absolute values, the first of
    equal ones.
    """
    mask = np.ones(weight.size, bool)
    mask[np.argsort(np.abs(weight).reshape(-1), kind="stable")[:count]] = False
    return mask.reshape(weight.shape)
