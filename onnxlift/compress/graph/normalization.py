"""The form that recipes start from: one kind of constant, one kind of float, and nothing that a
caller may leave out.

Each pass takes a working copy and keeps the answers: exactly, except that float64 becomes float32
and that what was computed in 16 bits is computed in 32. The quality gate still compares with the
model as it came.
"""

import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from onnxlift.compress.graph.storage import constants, graphs
from onnxlift.compress.model.reading import walk
from onnxlift.compress.model.writing import save_model

_FIRST_IR_WITH_PLAIN_INITIALIZERS: Final = 4
_IR: Final = 8
_SMALLER_FLOATS: Final = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_ERRORS_ONLY: Final = 3
# Attributes that hold a datatype as a number.
_DATATYPES: Final = frozenset({"to", "dtype", "output_datatype"})


def normalize(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model with dense initializers that are no inputs, computed in float32; ``model`` itself
    where it already is.
    """
    plain = _with_plain_constants(model)
    wide = _foreign_floats(plain)
    if not wide:
        return plain
    changed = _in_float32(plain, wide)
    return changed if opens(changed) else plain  # some operators exist in 16 bits alone


def _with_plain_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    if not any(_has_other_constants(graph) for graph in graphs(model.graph)):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if copy.ir_version < _FIRST_IR_WITH_PLAIN_INITIALIZERS:
        copy.ir_version = _IR
    for graph in graphs(copy.graph):
        _make_dense(graph)
        _pack_values(graph)
        _undeclare_initializers(graph)
    return copy


def _has_other_constants(graph: onnx.GraphProto) -> bool:
    named = {tensor.name for tensor in graph.initializer}
    return (
        bool(graph.sparse_initializer)
        or any(value.name in named for value in graph.input)
        or any(_is_unpacked(item.tensor) for item in constants(graph))
        or any(_constant_value(node) is not None for node in graph.node)
    )


def _make_dense(graph: onnx.GraphProto) -> None:
    """Sparse initializers, and Constant nodes that hold numbers or a sparse tensor."""
    for sparse in graph.sparse_initializer:
        dense = _dense(sparse)
        graph.initializer.append(numpy_helper.from_array(dense, sparse.values.name))
    del graph.sparse_initializer[:]
    for node in graph.node:
        value = _constant_value(node)
        if value is not None:
            tensor = numpy_helper.from_array(value, node.output[0])
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("value", tensor))


def _constant_value(node: onnx.NodeProto) -> np.ndarray | None:
    """The value of a Constant node that does not hold it as a tensor; None for all others."""
    if node.op_type != "Constant" or not node.attribute:
        return None
    held = node.attribute[0]
    match held.name:
        case "sparse_value":
            return _dense(held.sparse_tensor)
        case "value_float" | "value_floats":
            return np.array(helper.get_attribute_value(held), np.float32)
        case "value_int" | "value_ints":
            return np.array(helper.get_attribute_value(held), np.int64)
        case _:
            return None


def _dense(sparse: onnx.SparseTensorProto) -> np.ndarray:
    """The values at their places, the rest 0; places are flat numbers or one row of coordinates
    each.
    """
    values, places = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    if places.ndim == 1:
        dense.reshape(-1)[places] = values
    else:
        dense[tuple(places.T)] = values
    return dense


def _is_unpacked(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor keeps numbers one by one, as protobuf's own lists."""
    return bool(tensor.float_data or tensor.double_data or tensor.int64_data or tensor.int32_data)


def _pack_values(graph: onnx.GraphProto) -> None:
    for item in constants(graph):
        if _is_unpacked(item.tensor):
            packed = numpy_helper.from_array(numpy_helper.to_array(item.tensor), item.tensor.name)
            item.tensor.CopyFrom(packed)


def _undeclare_initializers(graph: onnx.GraphProto) -> None:
    """An initializer that is an input too may be overridden, so nothing folds it."""
    named = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in named]
    del graph.input[:]
    graph.input.extend(kept)


def _foreign_floats(model: onnx.ModelProto) -> frozenset[int]:
    """The kinds of floats to replace: those of 16 bits, and float64 where most weights have it."""
    sizes: dict[int, int] = {}
    for graph in graphs(model.graph):
        for item in constants(graph):
            kind = item.tensor.data_type
            sizes[kind] = sizes.get(kind, 0) + len(item.tensor.raw_data)
    found = {kind for kind in _SMALLER_FLOATS if sizes.get(kind)}
    if sizes.get(TensorProto.DOUBLE, 0) > sizes.get(TensorProto.FLOAT, 0):
        found.add(TensorProto.DOUBLE)
    return frozenset(found)


def _in_float32(model: onnx.ModelProto, kinds: frozenset[int]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for graph in graphs(copy.graph):
        del graph.value_info[:]
        for value in (*graph.input, *graph.output) if graph is not copy.graph else ():
            for kind in walk(value, onnx.TypeProto.Tensor):
                kind.elem_type = TensorProto.FLOAT if kind.elem_type in kinds else kind.elem_type
    for tensor in walk(copy, onnx.TensorProto):
        if tensor.data_type in kinds:
            wide = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    for node in walk(copy, onnx.NodeProto):
        for item in node.attribute:
            if item.name in _DATATYPES and item.i in kinds:
                item.i = TensorProto.FLOAT
    _cast_at_the_border(copy.graph, kinds)
    return copy


def _cast_at_the_border(graph: onnx.GraphProto, kinds: frozenset[int]) -> None:
    """Inputs and outputs keep the datatypes that callers know, with a cast behind each."""
    given, made = (
        {
            value.name: value.type.tensor_type.elem_type
            for value in values
            if value.type.tensor_type.elem_type in kinds
        }
        for values in (graph.input, graph.output)
    )
    renamed = {name: f"{name}/float32" for name in (*given, *made)}
    for inner in graphs(graph):
        _rename(inner, renamed)
    for name in given:
        cast = helper.make_node("Cast", [name], [renamed[name]], to=TensorProto.FLOAT)
        graph.node.insert(0, cast)
    for name, kind in made.items():
        if name not in given:
            graph.node.append(helper.make_node("Cast", [renamed[name]], [name], to=kind))
    for value in graph.output:
        value.name = next((old for old, new in renamed.items() if new == value.name), value.name)


def _rename(graph: onnx.GraphProto, renamed: dict[str, str]) -> None:
    """Give values other names wherever they are made, read or handed out; inputs keep theirs."""
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for item in (*graph.output, *graph.initializer):
        item.name = renamed.get(item.name, item.name)


def opens(model: onnx.ModelProto) -> bool:
    """Whether onnxruntime opens a model on the CPU."""
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        with tempfile.TemporaryDirectory(prefix="onnxlift-") as folder:
            path = Path(folder) / "model.onnx"
            save_model(model, path)
            ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception:  # onnxruntime's errors share no base class below Exception
        return False
    return True
