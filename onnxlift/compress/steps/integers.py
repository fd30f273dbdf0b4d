"""What the two int8 steps share: a model that onnxruntime's quantizer takes, and whether it
quantized anything.
"""

import math
from collections import Counter
from typing import Final

import onnx
import onnx.version_converter

from onnxlift.compress.model.reading import opset
from onnxlift_runtime.errors import RecipeInvalid

_EIGHT_BITS: Final = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)


def without_declared_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that declares no shapes for its weights, as torch's exporter does.

    onnxruntime's quantizer transposes the weights of a Gemm and leaves their declared shape, which
    then contradicts.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.value_info if value.name not in weights]
    del copy.graph.value_info[:]
    copy.graph.value_info.extend(kept)
    return copy


def with_opset(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """The model in this opset where its own is older; raises what onnx raises where it cannot be
    converted.
    """
    if opset(model) >= version:
        return model
    converted: onnx.ModelProto = onnx.version_converter.convert_version(model, version)
    return converted


def require_quantized(
    before: onnx.ModelProto, after: onnx.ModelProto, step: str
) -> onnx.ModelProto:
    """Return ``after`` if it stores more 8-bit weights than ``before``, else raise
    ``RecipeInvalid``.
    """
    if _eight_bit_elements(after) <= _eight_bit_elements(before):
        operators = Counter(node.op_type for node in before.graph.node)
        listed = ", ".join(name for name, _ in operators.most_common(8))
        raise RecipeInvalid(
            f"{step} found no constant weights to quantize; the model's operators are {listed}"
        )
    return after


def _eight_bit_elements(model: onnx.ModelProto) -> int:
    """Elements of 8-bit tensors with dimensions: zero points and scales of single tensors are no
    weights.
    """
    tensors = (
        tensor
        for tensor in model.graph.initializer
        if tensor.data_type in _EIGHT_BITS and tensor.dims
    )
    return sum(math.prod(tensor.dims) for tensor in tensors)
