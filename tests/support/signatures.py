"""Tiny models whose signature is not "a batch in dimension 0 of everything", as other people's
models are.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.support import builders

_TYPES: Final = {"FP32": TensorProto.FLOAT, "INT64": TensorProto.INT64}
Dims = Sequence[int | str | None]


def declare(name: str, dims: Dims, datatype: str = "FP32") -> onnx.ValueInfoProto:
    """A graph input or output; a dimension is a size, a name, or None for one without a name."""
    return helper.make_tensor_value_info(name, _TYPES[datatype], list(dims))


def scaled(batch: str | None = "batch") -> onnx.ModelProto:
    """``y = x * scale``: ``x`` [batch, 4], ``scale`` a scalar."""
    return builders.build(
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        [declare("x", [batch, 4]), declare("scale", [])],
        [declare("y", [batch, 4])],
    )


def scalars() -> onnx.ModelProto:
    """``total = a + b``, all scalars."""
    return builders.build(
        [helper.make_node("Add", ["a", "b"], ["total"])],
        [declare("a", []), declare("b", [])],
        [declare("total", [])],
    )


def recurrent(batch: str | None = "batch", length: str | None = "length") -> onnx.ModelProto:
    """A voice activity network's signature: ``x`` [batch, length], ``state`` [2, batch, 3], ``sr``
    a scalar.

    ``score`` [batch, 1] is the sum of the row and of its state; ``next`` [2, batch, 3] is the state
    plus the row's mean.
    """
    nodes = [
        helper.make_node("Cast", ["sr"], ["rate"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "last"], ["mean"], keepdims=1),
        helper.make_node("ReduceSum", ["state", "outer"], ["kept"], keepdims=0),
        helper.make_node("Unsqueeze", ["kept", "last"], ["column"]),
        helper.make_node("Add", ["mean", "column"], ["raw"]),
        helper.make_node("Div", ["raw", "rate"], ["score"]),
        helper.make_node("Add", ["state", "mean"], ["next"]),
    ]
    constants = {"last": np.array([1], np.int64), "outer": np.array([0, 2], np.int64)}
    return builders.build(
        nodes,
        [
            declare("x", [batch, length]),
            declare("state", [2, batch, 3]),
            declare("sr", [], "INT64"),
        ],
        [declare("score", [batch, 1]), declare("next", [2, batch, 3])],
        constants,
    )


def picture() -> onnx.ModelProto:
    """The mean over the channels of one picture: ``image`` [3, height, width] to ``grey`` [height,
    width].
    """
    node = helper.make_node("ReduceMean", ["image", "axes"], ["grey"], keepdims=0)
    return builders.build(
        [node],
        [declare("image", [3, "height", "width"])],
        [declare("grey", ["height", "width"])],
        {"axes": np.array([0], np.int64)},
    )


def selection(rows: str | None = "n") -> onnx.ModelProto:
    """What NonMaxSuppression does to shapes: of ``boxes`` [n, 6] those whose last value is above
    0.5, as ``kept`` [m, 6].
    """
    nodes = [
        helper.make_node("Gather", ["boxes", "five"], ["scores"], axis=1),
        helper.make_node("Greater", ["scores", "half"], ["good"]),
        helper.make_node("Compress", ["boxes", "good"], ["kept"], axis=0),
    ]
    constants: dict[str, Any] = {"five": np.array(5, np.int64), "half": np.array(0.5, np.float32)}
    return builders.build(
        nodes, [declare("boxes", [rows, 6])], [declare("kept", ["m", 6])], constants
    )


def time_first(batch: int | str | None = 1) -> onnx.ModelProto:
    """A text recogniser's shapes: ``line`` [batch, 3, width] to ``steps`` [width, batch, 3]."""
    node = helper.make_node("Transpose", ["line"], ["steps"], perm=[2, 0, 1])
    return builders.build(
        [node], [declare("line", [batch, 3, "width"])], [declare("steps", ["width", batch, 3])]
    )


def baked(rows: int = 1) -> onnx.ModelProto:
    """A batch that is declared, and fixed by a Reshape: ``x`` [batch, 4] to ``y`` [batch, 2]."""
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["y"]),
    ]
    constants: dict[str, Any] = {
        "shape": np.array([rows, 4], np.int64),
        "weight": np.arange(8, dtype=np.float32).reshape(4, 2),
    }
    return builders.build(
        nodes, [declare("x", ["batch", 4])], [declare("y", ["batch", 2])], constants
    )


def with_total(batch: str | None = "batch") -> onnx.ModelProto:
    """Two outputs, one a scalar: ``double = 2 x`` [batch, 3] and ``total``, the sum of all of
    ``x``.
    """
    nodes = [
        helper.make_node("Add", ["x", "x"], ["double"]),
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
    ]
    return builders.build(
        nodes,
        [declare("x", [batch, 3])],
        [declare("double", [batch, 3]), declare("total", [])],
    )


def with_anchors() -> onnx.ModelProto:
    """A batch of some inputs alone: ``x`` [batch, 2], ``anchors`` [5, 2], ``y`` [batch, 5]."""
    nodes = [
        helper.make_node("Transpose", ["anchors"], ["columns"]),
        helper.make_node("MatMul", ["x", "columns"], ["y"]),
    ]
    return builders.build(
        nodes,
        [declare("x", ["batch", 2]), declare("anchors", [5, 2])],
        [declare("y", ["batch", 5])],
    )


def mixing(batch: str | None = "batch") -> onnx.ModelProto:
    """Rows that depend on each other: ``y`` is ``x`` [batch, 3] minus the mean of its columns."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    return builders.build(
        nodes,
        [declare("x", [batch, 3])],
        [declare("y", [batch, 3])],
        {"axes": np.array([0], np.int64)},
    )


def dynamic_picture(batch: int | str | None = "batch") -> onnx.ModelProto:
    """A convolution over pictures of any size: ``image`` [batch, 1, height, width] to ``mask`` of
    the same size.
    """
    kernel = np.linspace(-1, 1, 9, dtype=np.float32).reshape(1, 1, 3, 3)
    node = helper.make_node("Conv", ["image", "kernel"], ["mask"], pads=[1, 1, 1, 1], name="conv")
    dims: Dims = [batch, 1, "height", "width"]
    return builders.build(
        [node], [declare("image", dims)], [declare("mask", dims)], {"kernel": kernel}
    )


def numbers(shape: Sequence[int], seed: int = 0) -> Any:
    """Random float32 of a shape."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def recurrent_feed(rows: int, seed: int = 0, rate: int = 2) -> Mapping[str, Any]:
    """A feed of ``recurrent``."""
    return {
        "x": numbers((rows, 5), seed),
        "state": numbers((2, rows, 3), seed + 1),
        "sr": np.array(rate, np.int64),
    }
