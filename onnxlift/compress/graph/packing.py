"""The files that serve: a graph optimised ahead, whose large weights are mapped into memory instead
of read.

onnxruntime's graph optimizations and the copy of every weight are two thirds of opening a session.
Both are saved here without a bit of difference in the answers. Prepacked weights are not stored:
onnxruntime 1.31 wrote them wrong for graphs that mix MatMulInteger with MatMulNBits, and they fit
one CPU alone.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx
import onnxruntime as ort

from onnxlift.compress.graph.fusion import merge_attention
from onnxlift.compress.graph.storage import expands_at_load
from onnxlift.compress.model.writing import through_files, weights_beside

MODEL_FILE: Final = "model.onnx"
WEIGHTS_FILE: Final = f"{MODEL_FILE}.data"

# Mapping saves about a millisecond for each megabyte; below this, one file is worth more.
_WORTH_MAPPING_BYTES: Final = 4 * 2**20
# onnxruntime resolves the path of every tensor that lies beside the graph, so small ones stay
# inside.
_SMALLEST_MAPPED_BYTES: Final = 2**16
# A cache line, and the widest vector of AVX-512.
_ALIGNMENT: Final = 64
# The layout of convolutions (NCHWc, NHWC) belongs to the CPU that serves, so it cannot be chosen
# ahead.
_LAYOUT_OPERATORS: Final = frozenset(
    {"Conv", "FusedConv", "ConvTranspose", "ConvInteger", "QLinearConv"}
)
# onnxruntime's fused kernel runs slower on CPUs than the Add and LayerNormalization it replaces.
_SLOWER_FUSED: Final = ("SkipLayerNormFusion",)
_ERRORS_ONLY: Final = 3  # onnxruntime's severities: 2 is warning, 3 error


@dataclass(frozen=True)
class Packed:
    """What was written, and whether the session must still optimise the graph when it opens."""

    files: tuple[Path, ...]
    optimize_at_load: bool


def pack(model: onnx.ModelProto, folder: Path, architecture: str = "x86_64") -> Packed:
    """Write ``model`` into ``folder`` as the target ("x86_64", "arm64" or "gpu") opens it fastest.

    The graph is optimised up to onnxruntime's extended level, which holds on every CPU of an
    architecture; for GPUs it stays as it is, and where weights are expanded at load: optimising
    would expand them in the file. Raises what onnxruntime raises where it cannot open the model.
    """
    if architecture == "gpu" or expands_at_load(model):
        return Packed(write(model, folder), optimize_at_load=True)
    optimized = through_files(merge_attention(model), functools.partial(_optimize, architecture))
    chooses_layout = any(node.op_type in _LAYOUT_OPERATORS for node in optimized.graph.node)
    return Packed(write(optimized, folder), optimize_at_load=chooses_layout)


def write(model: onnx.ModelProto, folder: Path) -> tuple[Path, ...]:
    """Write one file, or two where mapping the weights pays: the same bytes for the same model."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    path, beside = folder / MODEL_FILE, folder / WEIGHTS_FILE
    large = [
        tensor
        for tensor in copy.graph.initializer
        if len(tensor.raw_data) >= _SMALLEST_MAPPED_BYTES
    ]
    mapped = sum(len(tensor.raw_data) for tensor in large) >= _WORTH_MAPPING_BYTES
    if mapped:
        _write_weights(large, beside)
    path.write_bytes(copy.SerializeToString(deterministic=True))
    return (path, beside) if mapped else (path,)


def _optimize(architecture: str, before: Path, after: Path) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(after)
    # Only arm64 multiplies signed activations as fast; the machine that packs may be the other one.
    options.add_session_config_entry(
        "session.qdqisint8allowed", "1" if architecture == "arm64" else "0"
    )
    if weights_beside(before):
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", f"{after.name}.data"
        )
    ort.InferenceSession(
        str(before),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(_SLOWER_FUSED),
    )


def _write_weights(tensors: Iterable[onnx.TensorProto], path: Path) -> None:
    """Move the bytes of ``tensors`` into the file at ``path``, each at an address a vector load
    likes.
    """
    with path.open("wb") as file:
        for tensor in tensors:
            file.write(bytes(-file.tell() % _ALIGNMENT))
            place = {
                "location": path.name,
                "offset": file.tell(),
                "length": file.write(tensor.raw_data),
            }
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
