"""Embedding tables in 8, 4 or 2 bits: each looked-up row is restored from blocks that share a
scale.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto

from onnxlift.compress.calibration.moments import Moments
from onnxlift.compress.graph.editing import MICROSOFT, Graph, attributes
from onnxlift.compress.quantization.blocks import Blocks, Fit, Grid, pack, quantize
from onnxlift.compress.results import NodeSensitivity
from onnxlift.compress.steps import Context, Step
from onnxlift.compress.steps.cache import WeightCache
from onnxlift_runtime.errors import RecipeInvalid

_BITS: Final = (2, 4, 8)
_BLOCKS: Final = (16, 32, 64, 128, 256)
_FLOATS: Final = (np.float32, np.float16)


@dataclass(frozen=True)
class Embeddings(Step):
    """Store the float tables that Gather reads rows of in ``bits`` bits.

    ``block`` columns share a float16 scale, and a zero point unless ``symmetric``; a table narrower
    than that takes the largest block that fits. Tables under ``smallest_bytes`` stay. ``exclude``
    names Gather nodes to leave alone. Where nothing is left to store, that is an error unless
    ``required`` is false.
    """

    title = "embeddings in {bits} bits"
    stores = True
    trait = "tables"

    bits: int = 8
    block: int = 128
    symmetric: bool = True
    fit: Fit = "searched"
    smallest_bytes: int = 65_536
    required: bool = True
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.bits not in _BITS or self.block not in _BLOCKS:
            raise RecipeInvalid(
                f"embeddings takes bits {_BITS} and block {_BLOCKS}, got bits {self.bits} and "
                f"block {self.block}"
            )

    @property
    def precision(self) -> str:
        """As sensitivity measures tables."""
        return f"{self.bits}-bit"

    @property
    def kept_share(self) -> float:
        """Bits, scales and zeros."""
        return self._grid(self.block).kept_share

    def reaches(self, node: NodeSensitivity) -> bool:
        """Whether a node looks up in a table that is large enough."""
        return (
            node.is_table
            and node.node not in self.exclude
            and node.size_bytes >= self.smallest_bytes
        )

    def apply(self, model: onnx.ModelProto, context: Context) -> onnx.ModelProto:
        """Return a model with packed tables; raises ``RecipeInvalid`` when it has none that is
        large enough.
        """
        graph = Graph(model)
        found = [
            node.name
            for node in graph.nodes
            if node.name not in self.exclude and self.suits(graph, node)
        ]
        if not found and self.required:
            raise RecipeInvalid(
                f"embeddings needs a Gather on a float table of at least {self.smallest_bytes:,} "
                f"bytes; there is none"
            )
        stored: dict[str, tuple[str, list[str], int]] = {}
        for name in found:
            self._replace(graph, graph.node(name), stored, context.cache)
        return graph.finish()

    def suits(self, graph: Graph, node: onnx.NodeProto) -> bool:
        """Whether a node looks rows up in a table that this step can store."""
        if node.op_type != "Gather" or attributes(node).get("axis", 0) != 0:
            return False
        table = graph.constant(node.input[0])
        return (
            table is not None
            and table.ndim == 2
            and table.dtype in _FLOATS
            and table.nbytes >= self.smallest_bytes
            and table.shape[1] % min(_BLOCKS) == 0
        )

    def restored(
        self, graph: Graph, node: str, _moments: Moments, cache: WeightCache
    ) -> np.ndarray:
        """The table of a node as its blocks give it back."""
        table = graph.constant(graph.node(node).input[0])
        assert table is not None
        return self.store(table, cache)[0].restore()[:, : table.shape[1]]

    def store(self, table: np.ndarray, cache: WeightCache) -> tuple[Blocks, int]:
        """The table in blocks, from ``cache`` where it has it, and how many columns share a
        scale.
        """
        block = max(size for size in _BLOCKS if size <= self.block and table.shape[1] % size == 0)
        grid = self._grid(block)
        kept = cache.take((grid, self.fit, table), lambda: quantize(table, grid, self.fit).arrays)
        return Blocks(*kept), block

    def _grid(self, block: int) -> Grid:
        return Grid(self.bits, block, self.symmetric, np.float16)

    def _replace(
        self,
        graph: Graph,
        node: onnx.NodeProto,
        stored: dict[str, tuple[str, list[str], int]],
        cache: WeightCache,
    ) -> None:
        name, indices, output = node.input[0], node.input[1], node.output[0]
        table = graph.constant(name)
        assert table is not None
        if name not in stored:
            blocks, block = self.store(table, cache)
            stored[name] = (*self._add(graph, name, blocks), block)
        whole, others, block = stored[name]
        half = graph.fresh(f"{output}/float16")
        graph.remove_node(node.name)
        graph.add_node(
            "GatherBlockQuantized",
            [whole, indices, *others],
            [half],
            domain=MICROSOFT,
            gather_axis=0,
            quantize_axis=1,
            block_size=block,
            bits=self.bits,
        )
        kind = TensorProto.FLOAT if table.dtype == np.float32 else TensorProto.FLOAT16
        graph.add_node("Cast", [half], [output], to=kind)
        graph.reindex()

    def _add(self, graph: Graph, name: str, blocks: Blocks) -> tuple[str, list[str]]:
        whole = graph.add_constant(f"{name}/uint{self.bits}", pack(blocks.whole, self.bits))
        others = [graph.add_constant(f"{name}/scale", blocks.scale)]
        if not self.symmetric:
            others.append(graph.add_constant(f"{name}/zero_point", pack(blocks.zero, self.bits)))
        return whole, others
