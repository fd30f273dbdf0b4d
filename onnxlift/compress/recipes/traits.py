"""What kind of graph a model is: which recipes make sense for it."""

from dataclasses import asdict, dataclass
from typing import Final

import onnx

from onnxlift.compress.graph.editing import Graph
from onnxlift.compress.steps.embeddings import Embeddings
from onnxlift.compress.steps.weight_storage import WeightStorage

# A table smaller than this saves little in 4 bits; that of positions is read by every text, and
# each row counts.
LARGE_TABLE_BYTES: Final = 2**20


@dataclass(frozen=True)
class Traits:
    """Whether a graph has projections (MatMul, Gemm with constant weights), convolutions, embedding
    tables, attention, LSTM cells, and weights of whatever operator, those inside If, Loop and Scan
    included.

    Tables are those that ``Embeddings`` stores; of any other a recipe has to do without that step.
    Large ones have at least ``LARGE_TABLE_BYTES``. Attention is a MatMul of two computed values:
    one range for all of an activation loses too much there.
    """

    projections: bool
    convolutions: bool
    tables: bool
    large_tables: bool
    attention: bool
    weights: bool = False
    cells: bool = False

    @property
    def names(self) -> frozenset[str]:
        """Those that it has."""
        return frozenset(name for name, present in asdict(self).items() if present)


def read_traits(model: onnx.ModelProto) -> Traits:
    """Look at the operators and constants of a model; of the main graph alone, except for
    ``weights``.
    """
    graph = Graph(model)
    return Traits(
        projections=any(True for _ in graph.projections()),
        convolutions=any(
            node.op_type == "Conv" and graph.constant(node.input[1]) is not None
            for node in graph.nodes
        ),
        tables=_has_tables(graph, Embeddings()),
        large_tables=_has_tables(graph, Embeddings(smallest_bytes=LARGE_TABLE_BYTES)),
        attention=any(
            node.op_type in ("Attention", "MultiHeadAttention")
            or (
                node.op_type == "MatMul"
                and all(graph.constant(name) is None for name in node.input)
            )
            for node in graph.nodes
        ),
        weights=WeightStorage().suits(model),
        cells=any(
            node.op_type == "LSTM" and graph.constant(node.input[1]) is not None
            for node in graph.nodes
        ),
    )


def _has_tables(graph: Graph, step: Embeddings) -> bool:
    return any(step.suits(graph, node) for node in graph.nodes)
