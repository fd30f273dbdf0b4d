"""The best classes of an output, as Triton's classification extension and TensorFlow Serving's classify tell them."""

from typing import Any

import numpy as np

from onnxlift_runtime.datatypes import datatype
from onnxlift_runtime.errors import InputMismatch
from onnxlift_runtime.manifest import Manifest, TensorSpec
from onnxlift_runtime.tensors import Array, bfloat16_to_float32


def top_classes(array: Array, spec: TensorSpec, count: int, *, batched: bool) -> Array:
    """The ``count`` best classes as BYTES ``value:index[:label]``, best first: shape [batch, k], or [k] unbatched.

    Scores are read along all dimensions after the batch; ``count`` is capped at how many there are.
    Source: Triton's "Classification Extension".
    """
    rows = array.reshape(array.shape[0], -1) if batched and array.ndim else array.reshape(1, -1)
    scores = _scores(rows, spec)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    texts = np.empty(best.shape, dtype=object)
    for place, index in np.ndenumerate(best):
        texts[place] = _tell(scores[place[0], index], int(index), spec)
    return texts if batched else texts[0]


def classify(outputs: dict[str, Array], manifest: Manifest) -> list[list[list[Any]]]:
    """For each example its ``[label, score]`` pairs in the model's order."""
    spec = _scores_output(manifest)
    labels = spec.labels or tuple(map(str, range(outputs[spec.name].shape[-1])))
    return [[[label, float(score)] for label, score in zip(labels, row, strict=True)] for row in _floats(outputs, spec)]


def regress(outputs: dict[str, Array], manifest: Manifest) -> list[float]:
    """For each example its one value; raises ``InputMismatch`` for a model without such an output."""
    for spec in manifest.outputs:
        if datatype(spec.datatype).kind == "float" and len(spec.shape) in {1, 2} and spec.shape[1:] in {(), (1,)}:
            return [float(value) for value in _floats(outputs, spec).reshape(-1)]
    raise InputMismatch(f"model {manifest.name!r} has no output of shape [-1] or [-1,1] to regress with; use :predict")


def _scores_output(manifest: Manifest) -> TensorSpec:
    """The output with labels, else the first of floating point with one score per class."""
    candidates = [spec for spec in manifest.outputs if datatype(spec.datatype).kind == "float" and len(spec.shape) == 2]
    if not candidates:
        raise InputMismatch(
            f"model {manifest.name!r} has no output of shape [-1,classes] to classify with; use :predict"
        )
    return next((spec for spec in candidates if spec.labels), candidates[0])


def _floats(outputs: dict[str, Array], spec: TensorSpec) -> Array:
    array = outputs[spec.name]
    return bfloat16_to_float32(array) if spec.datatype == "BF16" else array


def _scores(rows: Array, spec: TensorSpec) -> Array:
    """Scores in a type that can be negated and compared."""
    if datatype(spec.datatype).kind == "bytes":
        raise InputMismatch(f"output {spec.name!r} holds BYTES, classification needs numbers")
    if spec.datatype == "BF16":
        return bfloat16_to_float32(rows)
    return rows if rows.dtype.kind == "f" else rows.astype(np.float64)


def _tell(score: Any, index: int, spec: TensorSpec) -> bytes:
    label = f":{spec.labels[index]}" if index < len(spec.labels) else ""
    return f"{float(score):f}:{index}{label}".encode()
