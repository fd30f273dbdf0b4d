"""One session in which any node can be given another weight, so that looking at many nodes opens
one session.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

from onnxlift.compress.graph.editing import Graph

_ERRORS_ONLY: Final = 3


class Overrides:
    """A model whose weights are inputs that may be left out.

    With ``rounded`` the input of a changed node is rounded to 8 bits as well, one range for each
    run.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        nodes: Iterable[str],
        runs: Sequence[Mapping[str, np.ndarray]],
        output: str,
        *,
        rounded: bool = False,
    ) -> None:
        graph = Graph(model)
        self._weights = {name: _opened(graph, name) for name in nodes}
        self._switches = {name: _rounded(graph, name) for name in self._weights} if rounded else {}
        self._runs, self._output = runs, output
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(
            graph.finish().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def answers(
        self, node: str | None = None, weight: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """The output of every run, with another weight for one node; weights have the shape the
        node stores.
        """
        changes: dict[str, np.ndarray] = {}
        if node is not None and weight is not None:
            changes[self._weights[node]] = np.ascontiguousarray(weight, np.float32)
            if node in self._switches:
                changes[self._switches[node]] = np.ones(1, np.float32)
        return [self._session.run([self._output], {**run, **changes})[0] for run in self._runs]


def _opened(graph: Graph, name: str) -> str:
    """Make the constant of a node an input with a default, for this node alone."""
    node = graph.node(name)
    position = 0 if node.op_type == "Gather" else 1
    array = graph.constant(node.input[position])
    assert array is not None
    found = graph.set_constant(node.input[position], array, [node])
    _declare(graph, found, array.shape)
    return found


def _rounded(graph: Graph, name: str) -> str:
    """Put ``x + switch * (rounded(x) - x)`` before a node; the switch is an input that is 0 unless
    it is given.
    """
    node = graph.node(name)
    value = node.input[0]
    made = {
        part: graph.fresh(f"{name}/{part}")
        for part in ("whole", "scale", "zero", "near", "off", "part", "given")
    }
    switch = graph.add_constant(f"{name}/switch", np.zeros(1, np.float32))
    node.input[0] = made["given"]
    graph.add_node("DynamicQuantizeLinear", [value], [made["whole"], made["scale"], made["zero"]])
    graph.add_node("DequantizeLinear", [made["whole"], made["scale"], made["zero"]], [made["near"]])
    graph.add_node("Sub", [made["near"], value], [made["off"]])
    graph.add_node("Mul", [made["off"], switch], [made["part"]])
    graph.add_node("Add", [value, made["part"]], [made["given"]])
    _declare(graph, switch, (1,))
    graph.reindex()
    return switch


def _declare(graph: Graph, name: str, shape: Sequence[int]) -> None:
    graph.model.graph.input.append(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    )
