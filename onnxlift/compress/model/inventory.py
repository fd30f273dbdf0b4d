"""A model's weights without their values: how large each is, which operator reads it, and in which
layer it lies.
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import onnx

from onnxlift.compress.results import LayerSize

# Names that exporters make up for weights, and what steps and quantizers add to the names they were
# given.
_INVENTED: Final = re.compile(r"onnx::|_?val_\d|_v_\d|\d+$")
_ADDED: Final = re.compile(
    r"(/(u?int\d+|float16|int32|scale|zero_point|bias)|_quantized|_scale|_zero_point)+$"
)
_BITS: Final = {
    "FLOAT": 32, "UINT8": 8, "INT8": 8, "UINT16": 16, "INT16": 16, "INT32": 32, "INT64": 64,
    "BOOL": 8, "FLOAT16": 16, "DOUBLE": 64, "UINT32": 32, "UINT64": 64, "COMPLEX64": 64,
    "COMPLEX128": 128, "BFLOAT16": 16, "FLOAT8E4M3FN": 8, "FLOAT8E4M3FNUZ": 8, "FLOAT8E5M2": 8,
    "FLOAT8E5M2FNUZ": 8, "UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "FLOAT8E8M0": 8, "UINT2": 2,
    "INT2": 2,
}  # fmt: skip

# Where these operators read their weights; biases and scales of a layer are small.
_WEIGHT_INPUTS: Final[Mapping[str, tuple[int, ...]]] = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "DeformConv": (1,),
    "FusedConv": (1,),
    "Gemm": (0, 1),
    "FusedGemm": (0, 1),
    "MatMul": (0, 1),
    "FusedMatMul": (0, 1),
    "Einsum": (0, 1, 2),
    "LSTM": (1, 2),
    "GRU": (1, 2),
    "RNN": (1, 2),
    "Attention": (1,),
    "Gather": (0,),
}
# What exporters put between a weight and its operator.
_MOVES: Final = frozenset(
    {"Cast", "Concat", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose"}
    | {"Unsqueeze"}
)

# The nodes that read each value, and which of their inputs it is.
Readers: TypeAlias = dict[str, list[tuple[onnx.NodeProto, int]]]


@dataclass(frozen=True)
class Weight:
    """One constant of a graph and the first node that reads it; ``position`` is which of its inputs
    it is.

    ``shared`` says that other nodes read it too. ``size_bytes`` is that of its elements.
    ``operator`` computes with it: the first reader, or that of the expression which restores it
    when a session opens. ``is_weight`` is false for what no operator reads as its weight, perhaps
    after moves of its elements, such as anchors and masks.
    """

    tensor: onnx.TensorProto
    node: onnx.NodeProto
    position: int
    shared: bool
    size_bytes: int
    operator: str
    is_weight: bool

    @property
    def layer(self) -> str:
        """The layer it lies in, from its own name and its node's."""
        return layer_name(self.tensor.name, self.node.name)


def weights(model: onnx.ModelProto) -> Iterator[Weight]:
    """Every initializer and Constant that a node reads, subgraphs included; each once."""
    yield from _graph_weights(model.graph)


def layer_sizes(before: onnx.ModelProto, after: onnx.ModelProto) -> tuple[LayerSize, ...]:
    """Bytes by layer and operator in two forms of one model, the largest first."""
    old, new = _sizes(before), _sizes(after)
    found = (LayerSize(*key, old[key], new[key]) for key in {**old, **new})

    def largest_first(item: LayerSize) -> tuple[int, str, str]:
        return -max(item.before_bytes, item.after_bytes), item.layer, item.operator

    return tuple(sorted(found, key=largest_first))


def layer_name(weight: str, node: str = "") -> str:
    """The layer that a weight or node belongs to: everything up to its first number, else the first
    part of its name.

    ``encoder.layer.0.attention.self.query.weight`` and ``/encoder/layer.0/attention/…/MatMul`` both
    lie in ``encoder.layer.0``. Names that exporters made up say nothing, then the node's counts.
    """
    named = [
        parts
        for name in (weight, node)
        if (parts := _parts(name)) and not _INVENTED.match(parts[0])
    ]
    for parts in named:
        for position, part in enumerate(parts):
            if position and part.isdecimal():
                return ".".join(parts[: position + 1])
    deep = next((parts for parts in named if len(parts) > 1), None)
    if deep is not None:
        return deep[0]
    return next((name for name in (*_parts(node), *_parts(weight)) if name), "")


def readers(graph: onnx.GraphProto) -> Readers:
    """Who reads each name, in the graph or in one inside it."""
    found: Readers = {}
    for node in graph.node:
        for position, name in enumerate(node.input):
            found.setdefault(name, []).append((node, position))
    for inner in inner_graphs(graph):
        for name, nodes in readers(inner).items():
            found.setdefault(name, []).extend(nodes)
    return found


def is_weight(read: Readers, name: str) -> bool:
    """Whether an operator reads a constant as its weight, perhaps after moves of its elements."""
    left, seen = [name], {name}
    while left:
        for node, position in read.get(left.pop(), ()):
            if position in _WEIGHT_INPUTS.get(node.op_type, ()):
                return True
            if node.op_type in _MOVES:
                fresh = set(node.output) - seen
                seen |= fresh
                left.extend(fresh)
    return False


def inner_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graphs that the nodes of a graph hold, such as the branches of an If."""
    for node in graph.node:
        for item in node.attribute:
            if item.HasField("g"):
                yield item.g
            yield from item.graphs


def data_bytes(tensor: onnx.TensorProto) -> int:
    """The bytes that a tensor's elements take, wherever they are; raises ``ValueError`` for a shape
    or type unknown.
    """
    if tensor.data_type == onnx.TensorProto.STRING:
        return sum(map(len, tensor.string_data))
    bits = _BITS.get(datatype(tensor))
    if bits is None or min(tensor.dims, default=0) < 0:
        raise ValueError(f"its datatype is {datatype(tensor)} and its shape {list(tensor.dims)}")
    return int(math.prod(tensor.dims) * bits + 7) // 8


def datatype(tensor: onnx.TensorProto) -> str:
    """ONNX's name of a tensor's datatype, or its number where it has none."""
    kinds, number = onnx.TensorProto.DataType, tensor.data_type
    return str(kinds.Name(number)) if number in kinds.values() else str(number)


def _sizes(model: onnx.ModelProto) -> Counter[tuple[str, str]]:
    sizes: Counter[tuple[str, str]] = Counter()
    for weight in weights(model):
        sizes[weight.layer, weight.operator] += weight.size_bytes
    return sizes


def _graph_weights(graph: onnx.GraphProto) -> Iterator[Weight]:
    own = {tensor.name: tensor for tensor in graph.initializer} | _constants(graph)
    read = readers(graph)
    for name, tensor in own.items():
        if found := read.get(name):
            node, position = found[0]
            shared, operator = len(found) > 1, _operator(read, name)
            size_bytes, used = data_bytes(tensor), is_weight(read, name)
            yield Weight(tensor, node, position, shared, size_bytes, operator, used)
    for inner in inner_graphs(graph):
        yield from _graph_weights(inner)


def _operator(read: Readers, name: str) -> str:
    """The operator behind ``Cast(int8) * scale``, whose values carry the weight's name."""
    bare, node = _ADDED.sub("", name), read[name][0][0]
    while node.op_type in ("Cast", "Mul", "Reshape") and _ADDED.sub("", node.output[0]) == bare:
        if not (found := read.get(node.output[0])):
            break
        node = found[0][0]
    return str(node.op_type)


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Tensors of Constant nodes under the names they give out."""
    constants: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        if node.op_type == "Constant":
            tensors = [item.t for item in node.attribute if item.name == "value"]
            constants.update(zip(node.output, tensors, strict=False))  # others hold no tensor
    return constants


def _parts(name: str) -> list[str]:
    """A name's parts, without what tools added and without a part that only repeats the one before
    it.
    """
    parts = [part for part in re.split(r"[/.]", _ADDED.sub("", name)) if part]
    return [part for part, _ in itertools.groupby(parts)]
