"""A transformer of one layer, small enough to build in a test: attention, feed-forward, outlier
channels.
"""

from typing import Final

import numpy as np
import onnx
from onnx import helper

from tests.support.builders import build, value

WIDTH: Final = 32
WIDE: Final = 64
WORDS: Final = 600


def transformer(seed: int = 0) -> onnx.ModelProto:
    """``input_ids`` and ``attention_mask`` INT64 [-1, -1] to ``vector`` FP32 [-1, 32], with two
    channels far out.

    Nodes: ``lookup``, ``query``, ``key``, ``value``, ``dense``, ``wide``, ``narrow`` and what is
    between them.
    """
    random = np.random.default_rng(seed)
    sizes = dict.fromkeys(("query", "key", "value", "dense"), (WIDTH, WIDTH)) | {
        "wide": (WIDTH, WIDE),
        "narrow": (WIDE, WIDTH),
    }
    constants: dict[str, np.ndarray] = {
        f"{name}_w": _normal(random, size) / np.float32(np.sqrt(size[0]))
        for name, size in sizes.items()
    }
    constants |= {
        f"{name}_b": _normal(random, size[1:]) / np.float32(10) for name, size in sizes.items()
    }
    constants |= {
        "words": _normal(random, (WORDS, WIDTH)),
        "heads": np.array([0, 0, 4, 8]),
        "merged": np.array([0, 0, WIDTH]),
    }
    constants |= {"gamma": np.ones(WIDTH, np.float32), "beta": np.zeros(WIDTH, np.float32)}
    constants["gamma"][[3, 7]] = 20
    constants["beta"][3] = 15
    constants |= {
        "low": np.array(-1e9, np.float32),
        "one": np.array(1, np.float32),
        "axes": np.array([1, 2]),
        "axis": np.array([1]),
    }
    nodes = [*_attention(), *_rest()]
    inputs = [value(name, "INT64", (-1, -1)) for name in ("input_ids", "attention_mask")]
    for item in inputs:
        item.type.tensor_type.shape.dim[1].dim_param = "tokens"
    return build(nodes, inputs, [value("vector", "FP32", (-1, WIDTH))], constants)


def samples(count: int = 24, tokens: int = 12, seed: int = 1) -> dict[str, np.ndarray]:
    """Padded calibration samples for ``transformer``."""
    random = np.random.default_rng(seed)
    mask = (np.arange(tokens) < random.integers(3, tokens + 1, (count, 1))).astype(np.int64)
    return {"input_ids": random.integers(0, WORDS, (count, tokens)) * mask, "attention_mask": mask}


def _normal(random: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    return random.normal(size=size).astype(np.float32)


def _linear(name: str, source: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("MatMul", [source, f"{name}_w"], [f"{name}_product"], name=name),
        helper.make_node(
            "Add", [f"{name}_product", f"{name}_b"], [f"{name}_out"], name=f"{name}_add"
        ),
    ]


def _split(name: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node(
            "Reshape", [f"{name}_out", "heads"], [f"{name}_heads"], name=f"{name}_reshape"
        ),
        helper.make_node(
            "Transpose",
            [f"{name}_heads"],
            [f"{name}_ready"],
            perm=(0, 2, 1, 3),
            name=f"{name}_transpose",
        ),
    ]


def _attention() -> list[onnx.NodeProto]:
    parts = [
        node
        for name in ("query", "key", "value")
        for node in [*_linear(name, "start"), *_split(name)]
    ]
    return [
        helper.make_node("Gather", ["words", "input_ids"], ["rows"], name="lookup"),
        helper.make_node(
            "LayerNormalization", ["rows", "gamma", "beta"], ["start"], name="first_norm"
        ),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=1, name="mask_cast"),
        helper.make_node("Sub", ["one", "mask"], ["absent"], name="mask_sub"),
        helper.make_node("Mul", ["absent", "low"], ["far"], name="mask_mul"),
        helper.make_node("Unsqueeze", ["far", "axes"], ["added_mask"], name="mask_wide"),
        *parts,
        helper.make_node(
            "Transpose", ["key_ready"], ["key_turned"], perm=(0, 1, 3, 2), name="key_turn"
        ),
        helper.make_node("MatMul", ["query_ready", "key_turned"], ["scores"], name="scores_matmul"),
        helper.make_node("Add", ["scores", "added_mask"], ["masked"], name="scores_add"),
        helper.make_node("Softmax", ["masked"], ["shares"], axis=-1, name="softmax"),
        helper.make_node("MatMul", ["shares", "value_ready"], ["mixed"], name="mix"),
        helper.make_node("Transpose", ["mixed"], ["turned"], perm=(0, 2, 1, 3), name="mix_turn"),
        helper.make_node("Reshape", ["turned", "merged"], ["context"], name="mix_merge"),
        *_linear("dense", "context"),
    ]


def _rest() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Add", ["dense_out", "start"], ["residual"], name="residual_add"),
        *_linear("wide", "residual"),
        helper.make_node("Gelu", ["wide_out"], ["active"], name="gelu"),
        *_linear("narrow", "active"),
        helper.make_node("Add", ["narrow_out", "residual"], ["sum"], name="sum_add"),
        helper.make_node("ReduceMean", ["sum", "axis"], ["vector"], keepdims=0, name="mean"),
    ]
