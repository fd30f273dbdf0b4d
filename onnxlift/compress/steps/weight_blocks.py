"""Projections whose weights alone are stored in 8, 4 or 2 bits, in blocks that share a scale
(MatMulNBits).

The kernel quantizes the activations in the same blocks while it runs, which no outlier elsewhere
disturbs, so the result is the same on every instruction set and for every batch size. It is slower
than int8 projections.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np
import onnx

from onnxlift.compress.calibration.moments import Moments
from onnxlift.compress.graph.editing import MICROSOFT, Graph, Projection, by_input
from onnxlift.compress.quantization.blocks import Blocks, Grid, pack, quantize
from onnxlift.compress.quantization.rounding import compensate
from onnxlift.compress.results import NodeSensitivity
from onnxlift.compress.steps import Context, Stage, Step
from onnxlift.compress.steps.cache import WeightCache
from onnxlift_runtime.errors import RecipeInvalid

Method: TypeAlias = Literal["nearest", "k_quant", "hqq", "gptq"]

_BITS: Final = (2, 4, 8)
_BLOCKS: Final = (16, 32, 64, 128, 256)
# How much of its input each method looks at: nothing, the second moment, or its compensation as
# well.
_KNOWN: Final[Mapping[Method, int]] = {"nearest": 0, "hqq": 0, "k_quant": 1, "gptq": 2}


@dataclass(frozen=True)
class WeightBlocks(Step):
    """Store the weights of MatMul and Gemm nodes in ``bits`` bits, ``block`` inputs of one output
    sharing a scale.

    ``method``: "nearest" spans each block, "k_quant" searches the span that loses least on the
    calibration samples, "hqq" resists outliers and needs no samples, "gptq" compensates each
    rounding in the inputs after it. ``accuracy_level`` 4 lets the kernel compute in int8, which is
    what makes it fast. ``only`` limits the step to the named nodes, ``exclude`` leaves nodes out.
    """

    title = "weights in blocks of {bits} bits"
    stage = Stage.BLOCKS
    stores = True
    multiplies = True

    bits: int = 8
    block: int = 128
    symmetric: bool = True
    method: Method = "gptq"
    accuracy_level: int = 4
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.bits not in _BITS or self.block not in _BLOCKS:
            raise RecipeInvalid(
                f"weight_blocks takes bits {_BITS} and block {_BLOCKS}, got bits {self.bits} and "
                f"block {self.block}"
            )

    @property
    def needs_samples(self) -> bool:
        """Whether it looks at calibration samples."""
        return _KNOWN[self.method] > 0

    @property
    def takes_all(self) -> bool:
        """Whether no node is left out."""
        return not (self.only or self.exclude)

    @property
    def precision(self) -> str:
        """As sensitivity measures projections."""
        return f"{self.bits}-bit"

    @property
    def kept_share(self) -> float:
        """Bits, scales and zeros."""
        return self._grid.kept_share

    def reaches(self, node: NodeSensitivity) -> bool:
        """Whether a node is one of those that it is limited to."""
        named = not self.only or node.node in self.only
        return named and not node.is_table and node.node not in self.exclude

    def apply(self, model: onnx.ModelProto, context: Context) -> onnx.ModelProto:
        """Return a model with MatMulNBits nodes.

        Raises ``RecipeInvalid`` when nothing is left to store, ``SamplesInvalid`` when the method
        has no samples.
        """
        graph = Graph(model)
        found = [
            item
            for item in graph.projections(self.exclude)
            if not self.only or item.name in self.only
        ]
        groups = by_input(found)
        if not groups:
            raise RecipeInvalid(
                "weight_blocks needs a MatMul or Gemm with constant weights; this model has none "
                "left"
            )
        moments = Moments(context.origin or model, tuple(groups), context.samples, int8_noise=False)
        for members in groups.values():
            for member in members:
                self._replace(graph, member, self.store(member, moments, context.cache))
        return graph.finish()

    def restored(self, graph: Graph, node: str, moments: Moments, cache: WeightCache) -> np.ndarray:
        """The weight of a projection as its blocks give it back."""
        member = graph.projection(node)
        weight = self.store(member, moments, cache).restore()[:, : len(member.weight)]
        return weight if member.transposed else weight.T

    def store(self, member: Projection, moments: Moments, cache: WeightCache) -> Blocks:
        """``quantize`` of one projection by the moments of its input, or what ``cache`` has of
        it.
        """

        def make() -> tuple[np.ndarray, ...]:
            known = moments.of(member.input)[: _KNOWN[self.method]] if _KNOWN[self.method] else ()
            return self.quantize(member.weight, *known).arrays

        form = replace(self, only=(), exclude=(), accuracy_level=4)
        return Blocks(*cache.take((form, member.input, member.weight), make))

    def quantize(
        self, weight: np.ndarray, moment: np.ndarray | None = None, factor: np.ndarray | None = None
    ) -> Blocks:
        """Blocks along the inputs of ``weight`` [inputs, outputs], outputs first.

        ``moment`` [inputs, inputs] is the inputs' second moment, ``factor`` its ``compensation``
        for "gptq".
        """
        grid = self._grid
        importance = (
            None if moment is None else np.diag(moment) / max(np.diag(moment).mean(), 1e-30)
        )
        fit = {"nearest": "nearest", "hqq": "hqq"}.get(self.method, "searched")
        blocks = quantize(weight.T, grid, fit, importance)  # type: ignore[arg-type]
        return blocks if factor is None else _compensated(weight, blocks, grid, factor)

    @property
    def _grid(self) -> Grid:
        return Grid(self.bits, self.block, self.symmetric)

    def _replace(self, graph: Graph, member: Projection, blocks: Blocks) -> None:
        outputs, count = blocks.scale.shape
        packed = pack(blocks.whole.reshape(outputs, count, self.block), self.bits)
        inputs = [
            member.input,
            graph.add_constant(f"{member.weight_name}/uint{self.bits}", packed),
            graph.add_constant(
                f"{member.weight_name}/scale", blocks.scale.astype(member.weight.dtype)
            ),
        ]
        if not self.symmetric:
            inputs.append(
                graph.add_constant(f"{member.weight_name}/zero_point", pack(blocks.zero, self.bits))
            )
        graph.remove_node(member.name)
        product = graph.fresh(f"{member.output}/product") if member.bias_name else member.output
        graph.add_node(
            "MatMulNBits",
            inputs,
            [product],
            domain=MICROSOFT,
            K=member.weight.shape[0],
            N=outputs,
            bits=self.bits,
            block_size=self.block,
            accuracy_level=self.accuracy_level,
        )
        if member.bias_name:
            graph.add_node("Add", [product, member.bias_name], [member.output])
        graph.reindex()


def _compensated(weight: np.ndarray, blocks: Blocks, grid: Grid, factor: np.ndarray) -> Blocks:
    """Round again on the grids of ``blocks``, input by input, with compensation."""
    scale, zero = blocks.scale.T.astype(np.float64), blocks.zero.T.astype(np.float64)
    whole = blocks.whole.copy()

    def round_row(row: int, values: np.ndarray) -> np.ndarray:
        step, start = scale[row // grid.block], zero[row // grid.block]
        found = np.clip(np.rint(values / step) + start, 0, grid.top)
        whole[:, row] = found
        rounded: np.ndarray = (found - start) * step
        return rounded

    compensate(weight, factor, round_row)
    return Blocks(whole, blocks.scale, blocks.zero)
