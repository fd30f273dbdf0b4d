"""What is inside a model file, and how much smaller it may become; large files are mapped, not
loaded.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx

from onnxlift.compress.inspect.estimates import Estimate, estimates
from onnxlift.compress.model.inventory import Weight, datatype, weights
from onnxlift.compress.model.reading import opset, read_graph, walk


@dataclass(frozen=True)
class Value:
    """An input or output: ONNX's datatype, and a shape whose variable dimensions keep their
    names.
    """

    name: str
    datatype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Share:
    """What one operator, layer or datatype holds: how many nodes or tensors, and the bytes of their
    weights.
    """

    name: str
    count: int
    size_bytes: int


@dataclass(frozen=True)
class Beside:
    """A file that holds weights of the model."""

    path: str
    size_bytes: int


@dataclass(frozen=True)
class Inspection:
    """A model file read but not run; ``size_bytes`` counts the files beside it too."""

    path: str
    size_bytes: int
    opset: int
    domains: tuple[str, ...]
    producer: str
    parameters: int
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    operators: tuple[Share, ...]
    layers: tuple[Share, ...]
    datatypes: tuple[Share, ...]
    files: tuple[Beside, ...]
    estimates: tuple[Estimate, ...]


def inspect(path: Path) -> Inspection:
    """Read a model file and say what is in it; raises ``ModelRefused`` where it is broken, foreign
    or unsafe.
    """
    graph = read_graph(path)
    proto = graph.proto
    found = tuple(weights(proto))
    initializers = {tensor.name for tensor in proto.graph.initializer}
    return Inspection(
        path=str(path),
        size_bytes=graph.size_bytes,
        opset=opset(proto),
        domains=tuple(sorted({item.domain for item in proto.opset_import} - {"", "ai.onnx"})),
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        parameters=sum(math.prod(weight.tensor.dims) for weight in found),
        inputs=tuple(_value(item) for item in proto.graph.input if item.name not in initializers),
        outputs=tuple(_value(item) for item in proto.graph.output),
        operators=_operators(proto, found),
        layers=_shares((weight.layer, weight.size_bytes) for weight in found),
        datatypes=_shares((datatype(weight.tensor), weight.size_bytes) for weight in found),
        files=tuple(
            Beside(str(data.relative_to(path.parent)), data.stat().st_size) for data in graph.beside
        ),
        estimates=estimates(found, graph.size_bytes, path.parent),
    )


def _value(item: onnx.ValueInfoProto) -> Value:
    tensor = item.type.tensor_type
    if not item.type.HasField("tensor_type"):
        return Value(item.name, str(item.type.WhichOneof("value") or "undefined"), ())
    return Value(
        item.name,
        datatype(onnx.TensorProto(data_type=tensor.elem_type)),
        tuple(_dimension(size) for size in tensor.shape.dim),
    )


def _dimension(size: onnx.TensorShapeProto.Dimension) -> int | str:
    return int(size.dim_value) if size.HasField("dim_value") else str(size.dim_param) or "?"


def _operators(proto: onnx.ModelProto, found: Iterable[Weight]) -> tuple[Share, ...]:
    """Operators by the bytes of the weights that their nodes read first, then by how many nodes
    there are.
    """
    nodes = Counter(_operator(node) for node in walk(proto, onnx.NodeProto))
    held: Counter[str] = Counter()
    for weight in found:
        held[_operator(weight.node)] += weight.size_bytes
    shares = (Share(name, count, held[name]) for name, count in nodes.items())
    return tuple(sorted(shares, key=lambda share: (-share.size_bytes, -share.count, share.name)))


def _operator(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _shares(items: Iterable[tuple[str, int]]) -> tuple[Share, ...]:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for name, size_bytes in items:
        counts[name] += 1
        sizes[name] += size_bytes
    shares = (Share(name, counts[name], sizes[name]) for name in counts)
    return tuple(sorted(shares, key=lambda share: (-share.size_bytes, share.name)))
