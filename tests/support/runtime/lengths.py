"""Models whose inputs have a length of their own: attention with a mask and without, and masked
integers.
"""

from typing import Any, Final

import numpy as np
from onnx import helper

from onnxlift_runtime.manifest import Padding
from tests.support import builders

WORDS: Final = 50
PADDING: Final = Padding(1, {"ids": 0, "mask": 0}, ("tokens",))


def attention(*, masked: bool = True, width: int = 8) -> Any:
    """``ids`` and ``mask`` INT64 [-1, -1] to ``tokens`` [-1, -1, width] and their mean ``pooled``
    [-1, width].

    Without ``masked`` every place is looked at, whatever ``mask`` says.
    """
    random = np.random.default_rng(0)
    constants: dict[str, Any] = {
        "table": random.normal(size=(WORDS, width)).astype(np.float32),
        "projection": (random.normal(size=(width, width)) / np.sqrt(width)).astype(np.float32),
        "one": np.float32(1.0).reshape(()),
        "never": np.float32(-1e9 if masked else 0.0).reshape(()),
        "before": np.array([1]),
        "behind": np.array([2]),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["looked_up"]),
        helper.make_node("Tanh", ["looked_up"], ["bent"]),
        helper.make_node("MatMul", ["bent", "projection"], ["words"]),
        helper.make_node("Transpose", ["words"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["words", "turned"], ["scores"]),
        helper.make_node("Cast", ["mask"], ["kept"], to=1),
        helper.make_node("Sub", ["one", "kept"], ["left_out"]),
        helper.make_node("Mul", ["left_out", "never"], ["bias"]),
        helper.make_node("Unsqueeze", ["bias", "before"], ["bias_of_all"]),
        helper.make_node("Add", ["scores", "bias_of_all"], ["biased"]),
        helper.make_node("Softmax", ["biased"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "words"], ["tokens"]),
        helper.make_node("Unsqueeze", ["kept", "behind"], ["kept_of_all"]),
        helper.make_node("Mul", ["tokens", "kept_of_all"], ["counted"]),
        helper.make_node("ReduceSum", ["counted", "before"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["kept", "before"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["pooled"]),
    ]
    inputs = [builders.value(name, "INT64", (-1, -1)) for name in ("ids", "mask")]
    outputs = [
        builders.value("tokens", "FP32", (-1, -1, width)),
        builders.value("pooled", "FP32", (-1, width)),
    ]
    return builders.build(nodes, inputs, outputs, constants)


def masked_integers() -> Any:
    """``tokens = ids × mask`` [-1, -1] and ``total``, their sum for each row: exact whatever is
    beside it.
    """
    nodes = [
        helper.make_node("Mul", ["ids", "mask"], ["tokens"]),
        helper.make_node("ReduceSum", ["tokens", "axes"], ["total"], keepdims=0),
    ]
    inputs = [builders.value(name, "INT64", (-1, -1)) for name in ("ids", "mask")]
    outputs = [builders.value("tokens", "INT64", (-1, -1)), builders.value("total", "INT64", (-1,))]
    return builders.build(nodes, inputs, outputs, {"axes": np.array([1])})


def text(rows: int, length: int, seed: int = 0) -> dict[str, Any]:
    """``rows`` texts of ``length`` words, all of them to be looked at."""
    ids = np.random.default_rng(seed).integers(1, WORDS, (rows, length))
    return {"ids": ids, "mask": np.ones_like(ids)}
