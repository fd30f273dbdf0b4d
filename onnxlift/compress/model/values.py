"""Values for an input of which nothing is known but its name, its datatype and the graph."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper

from onnxlift.columns import Array
from onnxlift.compress.model.reading import walk
from onnxlift_runtime.errors import DatatypeMismatch
from onnxlift_runtime.manifest import TensorSpec
from onnxlift_runtime.tensors.datatypes import datatype

_PICTURES: Final = re.compile(r"(?i)image|img|pixel|picture|frame")
_SOUNDS: Final = re.compile(r"(?i)audio|wave|signal|speech|pcm")
_LOUDNESS: Final = 0.1
_WORDS: Final = (b"a small dog runs", b"the answer is yes", b"sunny", b"we met in March", b"no")


@dataclass(frozen=True)
class Ranges:
    """What a graph's own constants say about the whole numbers it takes, by input."""

    rows: Mapping[str, int] = field(default_factory=dict)
    equal: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, model: onnx.ModelProto) -> "Ranges":
        """Rows of the tables that an input looks up, and the numbers that it is compared with."""
        nodes = list(walk(model.graph, onnx.NodeProto))
        constants = {tensor.name: tensor for tensor in model.graph.initializer} | {
            node.output[0]: item.t
            for node in nodes
            for item in node.attribute
            if node.op_type == "Constant" and item.name == "value"
        }
        origin = {value.name: value.name for value in model.graph.input}
        rows: dict[str, int] = {}
        equal: dict[str, int] = {}
        for node in nodes:
            if node.op_type in ("Cast", "Identity") and node.input[0] in origin:
                origin[node.output[0]] = origin[node.input[0]]
            for name, count in _looked_up(node, constants):
                if name in origin:
                    rows[origin[name]] = min(count, rows.get(origin[name], count))
            for name, number in _compared(node, constants):
                if name in origin:
                    equal.setdefault(origin[name], number)
        return cls(rows, equal)


def _looked_up(
    node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]
) -> Iterator[tuple[str, int]]:
    """What a Gather takes for the index of a constant table, and the table's rows."""
    table = constants.get(node.input[0]) if node.op_type == "Gather" else None
    axis = next((item.i for item in node.attribute if item.name == "axis"), 0)
    if table is not None and 0 not in table.dims:
        yield node.input[1], table.dims[axis]


def _compared(
    node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]
) -> Iterator[tuple[str, int]]:
    """What an Equal compares with one constant whole number, and the number."""
    if node.op_type != "Equal":
        return
    for name, other in (tuple(node.input), tuple(reversed(node.input))):
        if other in constants:
            array = numpy_helper.to_array(constants[other])
            if array.size == 1 and array.dtype.kind in "iu":
                yield name, int(array.ravel()[0])


def make_values(
    spec: TensorSpec, shape: Sequence[int], ranges: Ranges, random: np.random.Generator
) -> Array:
    """Numbers are normal; pictures and sounds, by the input's name, have their usual range; whole
    numbers stay within the tables that they look up. Raises ``DatatypeMismatch`` for what numpy
    does not know.
    """
    found = datatype(spec.datatype)
    if found.name == "BF16":
        raise DatatypeMismatch("numpy knows no BF16")
    if found.kind == "bytes":
        return np.asarray(random.choice(np.array(_WORDS, object), size=shape))
    if found.kind == "float":
        return np.asarray(_numbers(spec.name, shape, random), found.numpy)
    if spec.name in ranges.equal:
        return np.full(shape, ranges.equal[spec.name], found.numpy)
    if "mask" in spec.name.lower():
        return np.ones(shape, found.numpy)
    if found.kind == "bool":
        return np.asarray(random.integers(0, 2, size=shape), found.numpy)
    most = min(ranges.rows.get(spec.name, 2), np.iinfo(found.numpy).max)
    return np.asarray(random.integers(0, most, size=shape), found.numpy)


def _numbers(name: str, shape: Sequence[int], random: np.random.Generator) -> Array:
    if _PICTURES.search(name):
        return np.asarray(random.random(size=shape))
    return random.normal(size=shape) * (_LOUDNESS if _SOUNDS.search(name) else 1)
