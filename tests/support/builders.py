"""Tiny ONNX models and artifacts for tests; each is built in the test that uses it, none is stored.

``model_bytes = linear().SerializeToString()`` runs in onnxruntime; ``write_artifact`` puts a model
and its manifest where the runtime reads them, without compressing anything.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxlift_runtime.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Latency,
    Manifest,
    Measurements,
    Quality,
    Source,
    TensorSpec,
)
from onnxlift_runtime.tensors.datatypes import datatype

OPSET: Final = 21
_IR_VERSION: Final = 10
_ELEMENT_TYPES: Final = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
}


def value(name: str, datatype_name: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    """Declare a graph input or output; -1 stands for a variable dimension, the first one is called
    ``batch``.
    """
    dims = [
        ("batch" if axis == 0 else f"{name}_{axis}") if size == -1 else size
        for axis, size in enumerate(shape)
    ]
    return helper.make_tensor_value_info(name, _ELEMENT_TYPES[datatype_name], dims)


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: dict[str, np.ndarray] | None = None,
    *,
    opset: int = OPSET,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """Put nodes and constants together; ``domains`` are imported beside ai.onnx, at version 1."""
    tensors = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "built", list(inputs), list(outputs), tensors)
    imports = [
        helper.make_opsetid("", opset),
        *(helper.make_opsetid(domain, 1) for domain in domains),
    ]
    return helper.make_model(
        graph, opset_imports=imports, ir_version=_IR_VERSION, producer_name="tests"
    )


def identity(datatype_name: str = "FP32", shape: Sequence[int] = (-1, 2)) -> onnx.ModelProto:
    """``y = x`` for any datatype and shape."""
    return identities({"x": (datatype_name, shape)})


def identities(inputs: dict[str, tuple[str, Sequence[int]]]) -> onnx.ModelProto:
    """One output for each input that repeats it: ``x`` gives ``y`` when alone, else
    ``<name>_out``.
    """
    names = {name: "y" if len(inputs) == 1 else f"{name}_out" for name in inputs}
    return build(
        [
            helper.make_node("Identity", [name], [out], name=f"copy_{name}")
            for name, out in names.items()
        ],
        [value(name, *declared) for name, declared in inputs.items()],
        [value(out, *inputs[name]) for name, out in names.items()],
    )


def linear(
    inputs: int = 4, outputs: int = 3, *, bias: bool = True, seed: int = 0
) -> onnx.ModelProto:
    """``y = x @ weight + bias`` with ``x`` FP32 [-1, inputs]; nodes ``matmul`` and ``add``."""
    random = np.random.default_rng(seed)
    constants = {"weight": random.normal(size=(inputs, outputs)).astype(np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product" if bias else "y"], name="matmul")
    ]
    if bias:
        constants["bias"] = random.normal(size=outputs).astype(np.float32)
        nodes.append(helper.make_node("Add", ["product", "bias"], ["y"], name="add"))
    return build(
        nodes, [value("x", "FP32", (-1, inputs))], [value("y", "FP32", (-1, outputs))], constants
    )


def mlp(inputs: int = 16, hidden: int = 64, classes: int = 4, *, seed: int = 0) -> onnx.ModelProto:
    """Two Gemm layers with a Relu between and a Softmax: ``x`` FP32 [-1, inputs] to
    ``probabilities`` [-1, classes].
    """
    random = np.random.default_rng(seed)
    constants = {
        "w1": (random.normal(size=(inputs, hidden)) / np.sqrt(inputs)).astype(np.float32),
        "b1": random.normal(size=hidden).astype(np.float32),
        "w2": (random.normal(size=(hidden, classes)) / np.sqrt(hidden)).astype(np.float32),
        "b2": random.normal(size=classes).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="gemm1"),
        helper.make_node("Relu", ["h"], ["a"], name="relu"),
        helper.make_node("Gemm", ["a", "w2", "b2"], ["logits"], name="gemm2"),
        helper.make_node("Softmax", ["logits"], ["probabilities"], name="softmax", axis=-1),
    ]
    outputs = [value("probabilities", "FP32", (-1, classes))]
    return build(nodes, [value("x", "FP32", (-1, inputs))], outputs, constants)


def convolution(classes: int = 4, channels: int = 32, *, seed: int = 0) -> onnx.ModelProto:
    """Two convolutions and a Gemm on ``pixels`` FP32 [-1, 1, 8, 8]: ``logits`` [-1, classes]."""
    random = np.random.default_rng(seed)
    constants = {
        "k1": random.normal(size=(channels, 1, 3, 3)).astype(np.float32) / 3,
        "k2": random.normal(size=(channels, channels, 3, 3)).astype(np.float32)
        / np.float32(3 * np.sqrt(channels)),
        "w": (random.normal(size=(channels, classes)) / np.sqrt(channels)).astype(np.float32),
        "b": random.normal(size=classes).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["pixels", "k1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "k2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"], name="gemm"),
    ]
    inputs = [value("pixels", "FP32", (-1, 1, 8, 8))]
    return build(nodes, inputs, [value("logits", "FP32", (-1, classes))], constants)


def failing() -> onnx.ModelProto:
    """Loads, and fails when it runs on rows that are not 6 long: ``x`` FP32 [-1, -1] is reshaped to
    [-1, 2, 3].
    """
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"], name="reshape")]
    constants = {"shape": np.array([0, 2, 3], dtype=np.int64)}
    return build(nodes, [value("x", "FP32", (-1, -1))], [value("y", "FP32", (-1, 2, 3))], constants)


def spec(
    name: str, datatype_name: str, shape: Sequence[int], labels: Sequence[str] = ()
) -> TensorSpec:
    """A tensor's declaration in a manifest."""
    return TensorSpec(name, datatype(datatype_name).name, tuple(shape), tuple(labels))


def manifest(
    inputs: Sequence[TensorSpec] = (TensorSpec("x", "FP32", (-1, 4)),),
    outputs: Sequence[TensorSpec] = (TensorSpec("y", "FP32", (-1, 3)),),
    **changes: Any,
) -> Manifest:
    """A complete manifest with plausible figures; name it, or change any other field, by
    keyword.
    """
    latency = (Latency(1, 0.1, 0.2), Latency(8, 0.4, 0.6))
    values: dict[str, Any] = {
        "name": "tiny",
        "version": "1",
        "opset": OPSET,
        "recipe": "fp32",
        "architecture": "x86_64",
        "files": (FileEntry("model.onnx", "0" * 64, 1_000),),
        "source": Source("0" * 64, 1_000, latency),
        "quality": Quality("top1_agreement", 1.0, 1.0, 0.01, 100),
        "measurements": Measurements(5.0, 60.0, latency, "test", 1, "1.31.1"),
        "max_batch_size": 256,
        **changes,
    }
    return Manifest(inputs=tuple(inputs), outputs=tuple(outputs), **values)


def write_artifact(
    root: Path,
    model: onnx.ModelProto,
    inputs: Sequence[TensorSpec] | None = None,
    outputs: Sequence[TensorSpec] | None = None,
    **changes: Any,
) -> Manifest:
    """Write ``root/<name>/<version>/{model.onnx, manifest.json}`` and return the manifest.

    Inputs and outputs are read from the graph where they are not given; ``changes`` are the
    manifest's other fields.
    """
    content = model.SerializeToString()
    entry = FileEntry("model.onnx", hashlib.sha256(content).hexdigest(), len(content))
    written = manifest(
        declared(model.graph.input) if inputs is None else inputs,
        declared(model.graph.output) if outputs is None else outputs,
        **{"files": (entry,), "source": Source(entry.sha256, entry.size_bytes), **changes},
    )
    folder = root / written.name / written.version
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    (folder / MANIFEST_NAME).write_text(written.to_json())
    return written


def declared(values: Sequence[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    """The declarations of graph inputs or outputs as a manifest states them."""
    names = {int(number): name for name, number in _ELEMENT_TYPES.items()}
    return tuple(
        TensorSpec(
            item.name,
            names[item.type.tensor_type.elem_type],
            tuple(
                dim.dim_value if dim.HasField("dim_value") else -1
                for dim in item.type.tensor_type.shape.dim
            ),
        )
        for item in values
    )
