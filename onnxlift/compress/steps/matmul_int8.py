"""Int8 projections with ranges taken from each input (dynamic), weights rounded with compensation,
no saturation.

On x86 without VNNI the int8 product adds neighbouring pairs in 16 bits (``vpmaddubsw``), which
saturates when both weights of a pair are large: 255 * (w1 + w2) must stay below 32768. Others halve
the weights' range for that reason. Here ``saturation = "avoid"`` bounds each pair to 128 in sum and
keeps the eighth bit: few pairs are that large, and what bounding them costs is compensated by the
rows after them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto

from onnxlift.compress.calibration.moments import Moments
from onnxlift.compress.graph.editing import Graph, Projection, by_input
from onnxlift.compress.quantization.rounding import compensate
from onnxlift.compress.results import NodeSensitivity
from onnxlift.compress.steps import Context, Stage, Step
from onnxlift.compress.steps.cache import WeightCache
from onnxlift_runtime.errors import RecipeInvalid

Rounding: TypeAlias = Literal["nearest", "compensated"]
Saturation: TypeAlias = Literal["ignore", "avoid", "halve"]

PAIR_LIMIT: Final = 128
_STRETCHES: Final = (0.85, 0.92, 1.0, 1.1, 1.25, 1.5, 2.0)


@dataclass(frozen=True)
class MatMulInt8(Step):
    """Turn MatMul and Gemm nodes with constant weights into int8 ones, one scale for each output
    column.

    ``rounding``: "nearest", or "compensated" by calibration samples. ``saturation``: what keeps x86
    without VNNI from saturating: "avoid" bounds pairs of weights, "halve" gives up a bit of all,
    "ignore" is for CPUs that cannot saturate. ``exclude`` names nodes to leave alone.
    """

    title = "int8 products"
    stage = Stage.INT8
    stores = True
    multiplies = True

    rounding: Rounding = "compensated"
    saturation: Saturation = "avoid"
    exclude: tuple[str, ...] = ()

    @property
    def needs_samples(self) -> bool:
        """Whether it looks at calibration samples."""
        return self.rounding == "compensated"

    @property
    def precision(self) -> str:
        """As sensitivity measures projections with rounded inputs."""
        return "int8"

    @property
    def kept_share(self) -> float:
        """8 bits of 32; a scale for each column is little."""
        return 0.25

    def reaches(self, node: NodeSensitivity) -> bool:
        """Whether a node is a projection that is not left out."""
        return not node.is_table and node.node not in self.exclude

    def is_predictable(self, steps: Sequence[Step]) -> bool:
        """Errors in int8 are those of smoothed activations."""
        return any(step.stage is Stage.SMOOTH for step in steps)

    def apply(self, model: onnx.ModelProto, context: Context) -> onnx.ModelProto:
        """Return the int8 model.

        Raises ``RecipeInvalid`` when nothing is left to quantize, ``SamplesInvalid`` when
        compensation has no samples.
        """
        graph = Graph(model)
        groups = by_input(graph.projections(self.exclude))
        if not groups:
            raise RecipeInvalid(
                "matmul_int8 needs a MatMul or Gemm with constant weights; this model has none left"
            )
        moments = Moments(context.origin or model, tuple(groups), context.samples, int8_noise=True)
        for value, members in groups.items():
            quantized = _quantize_input(graph, value)
            for member in members:
                whole, scale = self.store(member, moments, context.cache)
                _replace_product(graph, member, quantized, whole, scale)
        return graph.finish()

    def restored(self, graph: Graph, node: str, moments: Moments, cache: WeightCache) -> np.ndarray:
        """The weight of a projection as its whole numbers and scales give it back."""
        member = graph.projection(node)
        whole, scale = self.store(member, moments, cache)
        weight: np.ndarray = whole.astype(np.float32) * scale
        return weight.T if member.transposed else weight

    def store(
        self, member: Projection, moments: Moments, cache: WeightCache
    ) -> tuple[np.ndarray, np.ndarray]:
        """``quantize`` of one projection by the moments of its input, or what ``cache`` has of
        it.
        """

        def make() -> tuple[np.ndarray, np.ndarray]:
            known = moments.of(member.input) if self.rounding == "compensated" else ()
            return self.quantize(member.weight, *known)

        whole, scale = cache.take((replace(self, exclude=()), member.input, member.weight), make)
        return whole, scale

    def quantize(
        self, weight: np.ndarray, moment: np.ndarray | None = None, factor: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Whole numbers int8 [inputs, outputs] and scales float32 [outputs] whose product is near
        ``weight``.

        ``moment`` [inputs, inputs] is the second moment of the inputs and ``factor`` its
        ``compensation``; without them every value is rounded to nearest.
        """
        rows = np.ones(len(weight)) if moment is None else np.diag(moment)
        scale = self._choose_scale(weight, rows)
        if factor is None:
            whole = self._nearest(weight / scale)
        else:
            rows_in_turn = _Rows(scale, self._top, self.saturation == "avoid")
            whole = np.rint(compensate(weight, factor, rows_in_turn.round) / scale)
        return whole.astype(np.int8), scale.astype(np.float32)

    @property
    def _top(self) -> int:
        return 64 if self.saturation == "halve" else 127

    def _choose_scale(self, weight: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The column scales, of a few around the plain maximum, that lose least when rounded to
        nearest.
        """
        plain = np.maximum(np.abs(weight).max(axis=0).astype(np.float64), 1e-12) / self._top
        scales = [plain * stretch for stretch in _STRETCHES]
        errors = [rows @ (weight - self._nearest(weight / scale) * scale) ** 2 for scale in scales]
        best: np.ndarray = np.choose(np.argmin(errors, axis=0), scales)
        return best

    def _nearest(self, values: np.ndarray) -> np.ndarray:
        whole: np.ndarray = np.clip(np.rint(values), -self._top, self._top)
        return bound_pairs(whole) if self.saturation == "avoid" else whole


@dataclass
class _Rows:
    """Rounds row after row; of a bounded pair the second row takes what the first has left."""

    scale: np.ndarray
    top: int
    bounded: bool
    first: np.ndarray | None = None

    def round(self, row: int, values: np.ndarray) -> np.ndarray:
        whole: np.ndarray = np.clip(np.rint(values / self.scale), -self.top, self.top)
        if self.bounded and row % 2 and self.first is not None:
            whole = np.clip(
                whole,
                np.maximum(-self.first, 0) - PAIR_LIMIT,
                PAIR_LIMIT - np.maximum(self.first, 0),
            )
        self.first = whole
        rounded: np.ndarray = whole * self.scale
        return rounded


def bound_pairs(whole: np.ndarray) -> np.ndarray:
    """Bring rows 2i and 2i+1 to at most 128 in sum, up and down, taking half of the excess from
    each.
    """
    bounded = whole.copy()
    even, odd = bounded[0 : len(whole) // 2 * 2 : 2], bounded[1::2]
    total = even + odd
    excess = np.sign(total) * np.maximum(np.abs(total) - PAIR_LIMIT, 0)
    even -= np.trunc(excess / 2)
    odd -= excess - np.trunc(excess / 2)
    return bounded


def _quantize_input(graph: Graph, value: str) -> tuple[str, str, str]:
    """Put DynamicQuantizeLinear behind ``value``: uint8 values, scale and zero point of each
    run.
    """
    names = tuple(graph.fresh(f"{value}/{part}") for part in ("uint8", "scale", "zero_point"))
    graph.add_node("DynamicQuantizeLinear", [value], names)
    return names[0], names[1], names[2]


def _replace_product(
    graph: Graph,
    member: Projection,
    quantized: tuple[str, str, str],
    whole: np.ndarray,
    scale: np.ndarray,
) -> None:
    """The chain that onnxruntime fuses into one kernel: MatMulInteger, Cast, Mul by both scales,
    and a Gemm's bias.
    """
    weight = graph.add_constant(f"{member.weight_name}/int8", whole)
    scales = graph.add_constant(f"{member.weight_name}/scale", scale)
    zero = graph.add_constant(f"{member.weight_name}/zero_point", np.zeros(1, np.int8).reshape(()))
    made = {
        part: graph.fresh(f"{member.name}/{part}") for part in ("int32", "float", "scale", "scaled")
    }
    graph.remove_node(member.name)
    graph.add_node("MatMulInteger", [quantized[0], weight, quantized[2], zero], [made["int32"]])
    graph.add_node("Cast", [made["int32"]], [made["float"]], to=TensorProto.FLOAT)
    graph.add_node("Mul", [quantized[1], scales], [made["scale"]])
    product = made["scaled"] if member.bias_name else member.output
    graph.add_node("Mul", [made["float"], made["scale"]], [product])
    if member.bias_name:
        graph.add_node("Add", [product, member.bias_name], [member.output])
    graph.reindex()
