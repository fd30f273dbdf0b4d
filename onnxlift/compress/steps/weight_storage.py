"""Weights of any operator stored in 8 or 16 bits and computed in float32: onnxruntime expands them
once, when it opens the session.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from onnxlift.compress.graph.storage import (
    Constant,
    constants,
    graphs,
    store_float16,
    store_int8,
)
from onnxlift.compress.model.inventory import is_weight, readers
from onnxlift.compress.steps import Context, Step
from onnxlift_runtime.errors import RecipeInvalid

_LARGEST_HALF: Final = float(np.finfo(np.float16).max)
_STORE: Final[Mapping[str, Callable[[Constant, np.ndarray], None]]] = {
    "int8": store_int8,
    "float16": store_float16,
}


@dataclass(frozen=True)
class WeightStorage(Step):
    """Store the float32 weights of every graph, those inside If, Loop and Scan included.

    ``datatype`` int8 has one scale for each channel, float16 none. The smallest weights, which hold
    ``fine`` of all elements together, are float16 with int8 too: those of depthwise convolutions
    weigh little and answers depend much on them. Weights of fewer than
    ``smallest`` elements stay, and so do tensors that no operator reads as a weight: an anchor or a
    mask is no weight. A model without any to store is an error unless ``required`` is false.
    """

    title = "weights stored as {datatype}"

    datatype: Literal["int8", "float16"] = "int8"
    smallest: int = 256
    fine: float = 0.03
    required: bool = True

    def __post_init__(self) -> None:
        if self.datatype not in _STORE:
            raise RecipeInvalid(
                f"weight_storage takes datatype {' or '.join(_STORE)}, got {self.datatype!r}"
            )

    def apply(self, model: onnx.ModelProto, _context: Context) -> onnx.ModelProto:
        """Return a model that expands its weights when it is opened; raises ``RecipeInvalid`` where
        it has none to store.
        """
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        found = list(self._weights(copy))
        if not found and not self.required:
            return model
        if not found:
            raise RecipeInvalid(
                f"weight_storage needs float32 weights of at least {self.smallest} elements; this "
                f"model has none"
            )
        fine = self._finest(found)
        for constant in found:
            datatype = "float16" if id(constant) in fine else self.datatype
            _STORE[datatype](constant, numpy_helper.to_array(constant.tensor))
        for graph in graphs(copy.graph):
            _forget_notes(graph)
        del copy.metadata_props[:]
        return copy

    def suits(self, model: onnx.ModelProto) -> bool:
        """Whether a model has a weight that this step can store."""
        return next(self._weights(model), None) is not None

    def _weights(self, model: onnx.ModelProto) -> Iterator[Constant]:
        for graph in graphs(model.graph):
            read = readers(graph)
            for item in constants(graph):
                if self._is_large(item.tensor) and is_weight(read, item.name):
                    yield item

    def _finest(self, found: Sequence[Constant]) -> frozenset[int]:
        """The identities of the smallest constants, up to their share of all elements."""
        sizes = {id(item): math.prod(item.tensor.dims) for item in found}
        ascending = sorted(sizes, key=lambda key: sizes[key])
        ends = itertools.accumulate(sizes[key] for key in ascending)
        allowed = self.fine * sum(sizes.values())
        return frozenset(key for key, end in zip(ascending, ends, strict=True) if end <= allowed)

    def _is_large(self, tensor: onnx.TensorProto) -> bool:
        """Whether a tensor has values enough, and none that float16 cannot hold."""
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            return False
        if math.prod(tensor.dims) < self.smallest:
            return False
        # The comparison is false for NaN too.
        return bool(np.abs(numpy_helper.to_array(tensor)).max() <= _LARGEST_HALF)


def _forget_notes(graph: onnx.GraphProto) -> None:
    """Drop what exporters write about each node and value, and the names of nodes: together they
    can weigh as much as the weights, and nothing refers to them.
    """
    graph.ClearField("doc_string")
    del graph.metadata_props[:]
    del graph.value_info[:]
    for node in graph.node:
        node.ClearField("doc_string")
        node.ClearField("name")
        del node.metadata_props[:]
