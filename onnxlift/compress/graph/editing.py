"""A working copy of one model that steps read and change: producers, consumers, constants,
projections.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxlift.compress.graph.ordering import in_topological_order, read_names
from onnxlift_runtime.errors import RecipeInvalid

MICROSOFT: Final = "com.microsoft"


@dataclass(frozen=True)
class Projection:
    """A MatMul or Gemm with a constant matrix: ``weight`` is [inputs, outputs], whichever way the
    node stores it.
    """

    name: str
    input: str
    output: str
    weight_name: str
    weight: np.ndarray
    transposed: bool
    bias_name: str | None = None


class Reader(Protocol):
    """What reads one value of a graph."""

    @property
    def input(self) -> str:
        """The value's name."""
        ...


class Graph:
    """A copy of a model; every method that changes it changes the copy alone.

    Nodes without a name get one, so that recipes can name what they leave out.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self._tensors = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._taken = set(self._tensors) | {
            name for node in self.nodes for name in [*node.input, *node.output]
        }
        self._taken |= {value.name for value in [*self.model.graph.input, *self.model.graph.output]}
        self._node_names: set[str] = set()
        for index, node in enumerate(self.nodes):
            node.name = _free(node.name or f"{node.op_type}_{index}", self._node_names)
        self.reindex()

    @property
    def nodes(self) -> Sequence[onnx.NodeProto]:
        """The nodes of the main graph, in topological order until one is added."""
        return self.model.graph.node  # type: ignore[no-any-return]

    @property
    def outputs(self) -> frozenset[str]:
        """The names of the graph's outputs."""
        return frozenset(value.name for value in self.model.graph.output)

    def reindex(self) -> None:
        """Read producers and consumers anew after nodes were rewired."""
        self.producers: dict[str, onnx.NodeProto] = {}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            self.producers |= dict.fromkeys(filter(None, node.output), node)
            # A node that reads a value twice is one consumer; "" stands for an input left out.
            for name in dict.fromkeys(filter(None, node.input)):
                self.consumers.setdefault(name, []).append(node)

    def constant(self, name: str) -> np.ndarray | None:
        """The value of an initializer or of a Constant node's tensor, or None."""
        if name in self._tensors:
            return numpy_helper.to_array(self._tensors[name])
        node = self.producers.get(name)
        if node is not None and node.op_type == "Constant" and node.attribute[0].name == "value":
            return numpy_helper.to_array(node.attribute[0].t)
        return None

    def add_constant(self, wish: str, array: np.ndarray) -> str:
        """Add an initializer under ``wish`` or the nearest free name and return that name."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(array), self.fresh(wish))
        self.model.graph.initializer.append(tensor)
        self._tensors[tensor.name] = self.model.graph.initializer[-1]
        return str(tensor.name)

    def set_constant(self, name: str, array: np.ndarray, users: Iterable[onnx.NodeProto]) -> str:
        """Give ``users`` another value for the constant ``name``; where others use it too, they
        keep the old one.
        """
        users = list(users)
        fresh = self.add_constant(name, array)
        for node in users:
            for position, item in enumerate(node.input):
                if item == name:
                    node.input[position] = fresh
        self.reindex()
        return fresh

    def fresh(self, wish: str) -> str:
        """A value or node name nobody has yet."""
        return _free(wish, self._taken)

    def add_node(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        domain: str = "",
        **attributes: Any,
    ) -> onnx.NodeProto:
        """Append a node named after its first output; ``finish`` sorts it into its place."""
        name = _free(outputs[0], self._node_names)
        node = helper.make_node(operator, inputs, outputs, name=name, domain=domain, **attributes)
        self.model.graph.node.append(node)
        imported = {item.domain for item in self.model.opset_import}
        if domain and domain not in imported:
            self.model.opset_import.append(helper.make_opsetid(domain, 1))
        return self.model.graph.node[-1]  # type: ignore[no-any-return]

    def remove_node(self, name: str) -> None:
        """Take a node out; what it computed must get another producer or have no consumer."""
        position = next(index for index, node in enumerate(self.nodes) if node.name == name)
        del self.model.graph.node[position]
        self._node_names.discard(name)
        self.reindex()

    def rewire(self, old: str, new: str, users: Iterable[onnx.NodeProto]) -> None:
        """Let ``users`` read ``new`` where they read ``old``."""
        for node in users:
            for position, item in enumerate(node.input):
                if item == old:
                    node.input[position] = new

    def projections(self, exclude: Iterable[str] = ()) -> Iterator[Projection]:
        """Every MatMul and plain Gemm with a constant float32 matrix, but for the named ones."""
        skipped = set(exclude)
        for node in self.nodes:
            if node.name not in skipped and (found := self._projection(node)) is not None:
                yield found

    def _projection(self, node: onnx.NodeProto) -> Projection | None:
        if node.op_type not in ("MatMul", "Gemm") or node.domain not in ("", "ai.onnx"):
            return None
        array = self.constant(node.input[1])
        if array is None or array.ndim != 2 or array.dtype != np.float32:
            return None
        found = attributes(node)
        scaled = found.get("alpha", 1.0) != 1.0 or found.get("beta", 1.0) != 1.0
        if scaled or found.get("transA", 0):
            return None
        transposed = bool(found.get("transB", 0))
        bias = node.input[2] if len(node.input) > 2 else None
        weight = array.T if transposed else array
        return Projection(
            node.name, node.input[0], node.output[0], node.input[1], weight, transposed, bias
        )

    def node(self, name: str) -> onnx.NodeProto:
        """The node of this name; raises ``RecipeInvalid`` when there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise RecipeInvalid(f"the model has no node named {name!r}")

    def set_weight(self, projection: Projection, weight: np.ndarray) -> None:
        """Give one projection another [inputs, outputs] matrix of its old datatype."""
        array = (weight.T if projection.transposed else weight).astype(projection.weight.dtype)
        self.set_constant(projection.weight_name, array, [self.node(projection.name)])

    def projection(self, name: str) -> Projection:
        """The projection of this name; raises ``RecipeInvalid`` when the node is not one."""
        found = self._projection(self.node(name))
        if found is None:
            raise RecipeInvalid(f"node {name!r} is no MatMul or Gemm with constant weights")
        return found

    def add_bias(self, projection: Projection, bias: np.ndarray) -> None:
        """Add [outputs] to what a projection gives: in the bias after it where there is one, else
        by a new Add.
        """
        node = self.node(projection.name)
        holder, position = (node, 2) if projection.bias_name else self._bias_after(projection)
        old = None if holder is None else self.constant(holder.input[position])
        if holder is not None and old is not None and old.shape == bias.shape:
            self.set_constant(holder.input[position], (old + bias).astype(old.dtype), [holder])
            return
        inner = self.fresh(f"{projection.output}/unbiased")
        node.output[0] = inner
        constant = self.add_constant(f"{inner}/bias", bias.astype(projection.weight.dtype))
        self.add_node("Add", [inner, constant], [projection.output])
        self.reindex()

    def _bias_after(self, projection: Projection) -> tuple[onnx.NodeProto | None, int]:
        """The Add that alone reads the projection, and which of its inputs is the constant."""
        readers = self.consumers.get(projection.output, [])
        alone = len(readers) == 1 and projection.output not in self.outputs
        if not alone or readers[0].op_type != "Add":
            return None, 0
        return readers[0], 1 - list(readers[0].input).index(projection.output)

    def finish(self) -> onnx.ModelProto:
        """Sort the nodes, drop constants nobody reads, and hand out the changed copy."""
        ordered = in_topological_order(self.nodes)
        del self.model.graph.node[:]
        self.model.graph.node.extend(ordered)
        used = set(read_names(self.model.graph)) | self.outputs
        kept = [tensor for tensor in self.model.graph.initializer if tensor.name in used]
        del self.model.graph.initializer[:]
        self.model.graph.initializer.extend(kept)
        declared = [
            value
            for value in self.model.graph.input
            if value.name in used or value.name not in self._tensors
        ]
        del self.model.graph.input[:]
        self.model.graph.input.extend(declared)
        del self.model.graph.value_info[:]
        return self.model


R = TypeVar("R", bound=Reader)


def by_input(found: Iterable[R]) -> dict[str, list[R]]:
    """What reads the same value, such as query, key and value, under that value's name."""
    groups: dict[str, list[R]] = {}
    for item in found:
        groups.setdefault(item.input, []).append(item)
    return groups


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def _free(wish: str, taken: set[str]) -> str:
    """``wish``, or it with the first number that makes it a name of its own; it is taken from then
    on.
    """
    name, count = wish, 0
    while name in taken:
        count += 1
        name = f"{wish}_{count}"
    taken.add(name)
    return name
