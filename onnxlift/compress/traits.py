"""What kind of graph a model is: which recipes make sense for it."""

from dataclasses import asdict, dataclass

import onnx

from onnxlift.compress.graph import Graph
from onnxlift.compress.steps.embeddings import Embeddings


@dataclass(frozen=True)
class Traits:
    """Whether a graph has projections (MatMul, Gemm with constant weights), convolutions, embedding tables, attention.

    Tables are those that ``Embeddings`` stores; of any other a recipe has to do without that step. Attention is a
    MatMul of two computed values: one range for all of an activation loses too much there.
    """

    projections: bool
    convolutions: bool
    tables: bool
    attention: bool

    @property
    def names(self) -> frozenset[str]:
        """Those that it has."""
        return frozenset(name for name, present in asdict(self).items() if present)


def read_traits(model: onnx.ModelProto) -> Traits:
    """Look at the operators and constants of the main graph."""
    graph = Graph(model)
    return Traits(
        projections=any(True for _ in graph.projections()),
        convolutions=any(node.op_type == "Conv" and graph.constant(node.input[1]) is not None for node in graph.nodes),
        tables=any(Embeddings().suits(graph, node) for node in graph.nodes),
        attention=any(
            node.op_type in ("Attention", "MultiHeadAttention")
            or (node.op_type == "MatMul" and all(graph.constant(name) is None for name in node.input))
            for node in graph.nodes
        ),
    )
