"""SmoothQuant: move the range of outlier channels from activations, where int8 has one scale, into
the weights.

Xiao et al., "SmoothQuant", ICML 2023 (arXiv 2211.10438): ``X / s`` and ``s * W`` multiply to the
same result. With an ``alpha`` the scales follow the paper's equation 4; without one they are fitted
to the calibration samples, together with a shift of each channel where that pays. Both go into the
operator before where that is exact, else new nodes carry them.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx

from onnxlift.compress.calibration.activations import observe
from onnxlift.compress.graph.channel_scaling import move_channels
from onnxlift.compress.graph.editing import Graph, Projection, by_input
from onnxlift.compress.quantization.smoothing import Ranges, Smoothing, fit, formula
from onnxlift.compress.steps import Context, Stage, Step
from onnxlift_runtime.errors import RecipeInvalid

_SHIFT_PAYS: Final = 0.85


@dataclass(frozen=True)
class SmoothQuant(Step):
    """Even out channel ranges before activations are quantized.

    ``alpha`` from 0 (leave the activations) to 1 (all channels equally wide), or None to fit scales
    and shifts. ``exclude`` names MatMul and Gemm nodes whose input keeps its ranges.
    """

    title = "SmoothQuant"
    stage = Stage.SMOOTH
    prepares = True

    alpha: float | None = None
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise RecipeInvalid(
                f"smooth_quant takes an alpha from 0 to 1, or none to fit it; got {self.alpha}"
            )

    @property
    def needs_samples(self) -> bool:
        """Whether it looks at calibration samples."""
        return True

    def apply(self, model: onnx.ModelProto, context: Context) -> onnx.ModelProto:
        """Return a model that computes the same from smoother inputs of its projections.

        Raises ``SamplesInvalid`` without calibration samples and ``RecipeInvalid`` when the model
        has no projection.
        """
        graph = Graph(model)
        groups = by_input(graph.projections(self.exclude))
        if not groups:
            raise RecipeInvalid(
                "smooth_quant needs a MatMul or Gemm with constant weights; this model has none"
            )
        ranges = observe_ranges(model, tuple(groups), context.samples)
        with ThreadPoolExecutor() as pool:  # numpy lets threads run side by side
            found = list(pool.map(self._choose, ranges.values(), groups.values()))
        for (value, members), smoothing in zip(groups.items(), found, strict=True):
            _smooth(graph, value, {member.name for member in members}, smoothing)
        return graph.finish()

    def _choose(self, ranges: Ranges, members: Sequence[Projection]) -> Smoothing:
        weight = np.concatenate([member.weight for member in members], axis=1)
        if self.alpha is not None:
            return Smoothing(formula(ranges, weight, self.alpha), np.zeros(len(weight)), np.nan)
        scaled, shifted = (fit(ranges, weight, shifted=choice) for choice in (False, True))
        return shifted if shifted.error < _SHIFT_PAYS * scaled.error else scaled


def observe_ranges(
    model: onnx.ModelProto, values: tuple[str, ...], samples: Mapping[str, np.ndarray]
) -> dict[str, Ranges]:
    """The channel ranges of the named values [..., channels] on the calibration samples."""
    runs: dict[str, list[np.ndarray]] = {name: [] for name in values}
    for seen in observe(model, values, samples):
        for name, array in seen.items():
            runs[name].append(array.reshape(-1, array.shape[-1]))
    return {name: Ranges.of(found) for name, found in runs.items()}


def _smooth(graph: Graph, value: str, names: set[str], smoothing: Smoothing) -> None:
    members = [item for item in graph.projections() if item.name in names]
    move_channels(graph, value, members, 1 / smoothing.scale, smoothing.shift)
    for member in members:
        if smoothing.shift.any():
            graph.add_bias(member, smoothing.shift @ member.weight.astype(np.float64))
        graph.set_weight(graph.projection(member.name), member.weight * smoothing.scale[:, None])
