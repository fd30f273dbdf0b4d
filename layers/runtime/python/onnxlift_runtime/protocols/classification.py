"""The best classes of an output, as Triton's classification extension and TensorFlow Serving's
classify tell them.
"""

import math
from typing import Any

import numpy as np

from onnxlift_runtime.errors import InputMismatch
from onnxlift_runtime.manifest import Manifest, TensorSpec
from onnxlift_runtime.tensors.arrays import Array, bfloat16_to_float32, shortest_floats
from onnxlift_runtime.tensors.datatypes import datatype


def top_classes(array: Array, spec: TensorSpec, count: int, *, batched: bool) -> Array:
    """The ``count`` best classes as BYTES ``value:index[:label]``, best first: shape [batch, k], or
    [k] unbatched.

    Scores are read along all dimensions after the batch; ``count`` is capped at how many there are.
    Source: Triton's "Classification Extension".
    """
    batch = array.shape[0] if batched else 1
    scores = _scores(array, spec).reshape(
        batch, math.prod(array.shape[1:]) if batched else array.size
    )
    # Both reversals keep NaN last and equal scores in their order; "~" reverses whole numbers
    # without an overflow.
    best = np.argsort(-scores if scores.dtype.kind == "f" else ~scores, axis=1, kind="stable")[
        :, :count
    ]
    texts = np.empty(best.shape, dtype=object)
    for place, index in np.ndenumerate(best):
        texts[place] = _tell(scores[place[0], index], int(index), spec)
    return texts if batched else texts[0]


def classify(outputs: dict[str, Array], manifest: Manifest) -> list[list[list[Any]]]:
    """For each example its ``[label, score]`` pairs in the model's order."""
    spec = _scores_output(manifest)
    scores = _scores(outputs[spec.name], spec)
    labels = spec.labels or tuple(map(str, range(scores.shape[-1])))
    return [
        [list(pair) for pair in zip(labels, row, strict=True)]
        for row in shortest_floats(scores).tolist()
    ]


def regress(outputs: dict[str, Array], manifest: Manifest) -> list[float]:
    """For each example its one value; raises ``InputMismatch`` for a model without such an
    output.
    """
    for spec in manifest.outputs:
        if (
            datatype(spec.datatype).kind == "float"
            and len(spec.shape) in {1, 2}
            and spec.shape[1:] in {(), (1,)}
        ):
            values: list[float] = (
                shortest_floats(_scores(outputs[spec.name], spec)).reshape(-1).tolist()
            )
            return values
    raise InputMismatch(
        f"model {manifest.name!r} has no output of shape [-1] or [-1,1] to regress with; use "
        f":predict"
    )


def _scores_output(manifest: Manifest) -> TensorSpec:
    """The output with labels, else the first of floating point with one score per class."""
    candidates = [
        spec
        for spec in manifest.outputs
        if datatype(spec.datatype).kind == "float" and len(spec.shape) == 2
    ]
    if not candidates:
        raise InputMismatch(
            f"model {manifest.name!r} has no output of shape [-1,classes] to classify with; use "
            f":predict"
        )
    return next((spec for spec in candidates if spec.labels), candidates[0])


def _scores(array: Array, spec: TensorSpec) -> Array:
    """Scores in a type that numpy can compare."""
    if datatype(spec.datatype).kind == "bytes":
        raise InputMismatch(f"output {spec.name!r} holds BYTES, classification needs numbers")
    return bfloat16_to_float32(array) if spec.datatype == "BF16" else array


def _tell(score: Any, index: int, spec: TensorSpec) -> bytes:
    """One class in Triton's words: six decimals for floating point, whole numbers as they are."""
    value = f"{float(score):f}" if datatype(spec.datatype).kind == "float" else str(int(score))
    label = f":{spec.labels[index]}" if index < len(spec.labels) else ""
    return f"{value}:{index}{label}".encode()
