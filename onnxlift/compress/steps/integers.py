"""What the two int8 steps share: a model that onnxruntime's quantizer takes, as many operators as
it can, and whether it quantized anything.
"""

import math
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import onnx
import onnx.version_converter
from onnxruntime.quantization.registry import IntegerOpsRegistry, QDQRegistry

from onnxlift.compress.graph.normalization import opens
from onnxlift.compress.model.reading import opset
from onnxlift.compress.steps import Context
from onnxlift_runtime.errors import RecipeInvalid

PRODUCTS: Final = ("Conv", "Gemm", "MatMul")
# What is computed in 8 bits, or looked up.
_LAYERS: Final = frozenset({*PRODUCTS, "ConvTranspose", "LSTM", "Gather", "Attention"})
# What is tried where the quantizer fails on more.
_FEWER: Final = (PRODUCTS, ("Gemm", "MatMul"), ("Conv",))
_QUANTIZED: Final = frozenset({*QDQRegistry, *IntegerOpsRegistry})
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


def require_layers(model: onnx.ModelProto, step: str) -> None:
    """Raise ``RecipeInvalid`` for a graph that has nothing which is computed in 8 bits."""
    operators = Counter(node.op_type for node in model.graph.node)
    if not operators.keys() & _LAYERS:
        raise RecipeInvalid(
            f"{step} has nothing to quantize: the graph has no Conv, Gemm or MatMul; its operators "
            f"are {_listed(operators)}"
        )


def last_layers(model: onnx.ModelProto) -> tuple[str, ...]:
    """The names of the Conv, Gemm and MatMul nodes with no other between them and an output."""
    producers = {name: node for node in model.graph.node for name in node.output}
    left = [value.name for value in model.graph.output]
    seen, found = set(left), dict[str, None]()
    while left:
        node = producers.get(left.pop())
        if node is not None and node.op_type in PRODUCTS:
            found[node.name] = None
        elif node is not None:
            fresh = set(node.input) - seen
            seen |= fresh
            left.extend(fresh)
    return tuple(found)


def quantize_most(
    model: onnx.ModelProto,
    operators: Sequence[str],
    context: Context,
    quantize: Callable[[onnx.ModelProto, Sequence[str], Context], onnx.ModelProto],
    step: str,
) -> onnx.ModelProto:
    """Quantize ``operators``, all where none are named, or as many as onnxruntime's quantizer can.

    What is left out is noted in ``context``. Raises ``RecipeInvalid`` where nothing works.
    """
    asked = tuple(operators)
    fewer = [tuple(name for name in some if name in asked or not asked) for some in _FEWER]
    for attempt in dict.fromkeys([asked, *filter(None, fewer)]):
        try:
            changed = quantize(model, attempt, context)
            works = opens(changed)
        except MemoryError:
            raise
        except Exception:  # the quantizer fails in many ways on graphs that it does not foresee
            traceback.print_exc()  # into the log of the candidate
            continue
        if works:
            if attempt != asked:
                context.notes.append(_left_out(model, asked, attempt))
            return require_quantized(model, changed, step)
    raise RecipeInvalid(
        f"{step}: onnxruntime's quantizer fails on this graph, with Conv, Gemm or MatMul alone too"
    )


def _left_out(model: onnx.ModelProto, asked: Sequence[str], kept: Sequence[str]) -> str:
    present = {node.op_type for node in model.graph.node}
    spared = (present & set(asked or _QUANTIZED)) - set(kept)
    return (
        f"only {', '.join(name for name in kept if name in present)} in 8 bits: onnxruntime's "
        f"quantizer fails on this graph with {', '.join(sorted(spared)) or 'the others'}"
    )


def require_quantized(
    before: onnx.ModelProto, after: onnx.ModelProto, step: str
) -> onnx.ModelProto:
    """Return ``after`` if it stores more 8-bit weights than ``before``, else raise
    ``RecipeInvalid``.
    """
    if _eight_bit_elements(after) <= _eight_bit_elements(before):
        raise _without_effect(before, step)
    return after


def _without_effect(model: onnx.ModelProto, step: str) -> RecipeInvalid:
    operators = Counter(node.op_type for node in model.graph.node)
    return RecipeInvalid(
        f"{step} found no constant weights to quantize; the model's operators are "
        f"{_listed(operators)}"
    )


def _listed(operators: Counter[str]) -> str:
    return ", ".join(name for name, _ in operators.most_common(8))


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
