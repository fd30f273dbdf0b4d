"""Small random networks with weights to prune: MLPs, a CNN with all that carries channels, a
feed-forward part.
"""

import itertools
from typing import Any

import numpy as np
import onnx
from onnx.helper import make_node

from tests.support.builders import build, value


def mlp(
    random: np.random.Generator, widths: tuple[int, ...], activation: str = "Relu"
) -> onnx.ModelProto:
    """``x`` FP32 [-1, widths[0]] through Gemms ``layer0``, ``layer1`` … to ``y`` [-1,
    widths[-1]].
    """
    constants: dict[str, np.ndarray] = {}
    nodes, source = [], "x"
    for index, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        last = index == len(widths) - 2
        constants[f"w{index}"] = normal(random, outputs, inputs, scale=inputs**-0.5)
        constants[f"b{index}"] = normal(random, outputs)
        made = "y" if last else f"h{index}"
        nodes.append(
            make_node(
                "Gemm", [source, f"w{index}", f"b{index}"], [made], name=f"layer{index}", transB=1
            )
        )
        if not last:
            nodes.append(make_node(activation, [made], [f"a{index}"], name=f"active{index}"))
        source = f"a{index}"
    return build(
        nodes,
        [value("x", "FP32", (-1, widths[0]))],
        [value("y", "FP32", (-1, widths[-1]))],
        constants,
    )


def _cnn_constants(
    random: np.random.Generator, first: int, second: int, hidden: int
) -> dict[str, np.ndarray]:
    constants = {
        "k1": normal(random, first, 2, 3, 3, scale=0.3),
        "kd": normal(random, first, 1, 3, 3, scale=0.4),
        "bd": normal(random, first),
        "k2": normal(random, second, first, 3, 2, scale=(6 * first) ** -0.5),
        "b2": normal(random, second),
        "wh": normal(random, second * 6, hidden, scale=(6 * second) ** -0.5),
        "bh": normal(random, hidden),
        "wl": normal(random, hidden, 5, scale=hidden**-0.5),
        "half": np.array(0.5, np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "flat": np.array([0, second * 6]),
    }
    constants |= {f"norm{index}": 1 + np.abs(normal(random, first)) / 9 for index in range(4)}
    return constants


def cnn(
    random: np.random.Generator, first: int = 12, second: int = 16, hidden: int = 20
) -> onnx.ModelProto:
    """``x`` FP32 [-1, 2, 8, 8] to ``y`` [-1, 5]: Convs, one dilated and one depthwise, and what is
    between.

    Nodes ``first``, ``norm``, ``depthwise``, ``second``, ``flatten``, ``hidden``, ``last``.
    """
    constants = _cnn_constants(random, first, second, hidden)
    dilated: dict[str, Any] = {"strides": [2, 1], "dilations": [1, 2], "pads": [1, 0, 1, 0]}
    nodes = [
        make_node("Conv", ["x", "k1"], ["c1"], name="first", auto_pad="SAME_UPPER"),
        make_node(
            "BatchNormalization",
            ["c1", *(f"norm{index}" for index in range(4))],
            ["n1"],
            name="norm",
        ),
        make_node("Clip", ["n1", "low", "high"], ["r1"], name="clip"),
        make_node(
            "Conv", ["r1", "kd", "bd"], ["d1"], name="depthwise", pads=[1, 1, 1, 1], group=first
        ),
        make_node("Sigmoid", ["d1"], ["s1"], name="gate"),
        make_node("Mul", ["d1", "s1"], ["g1"], name="swish"),
        make_node("Conv", ["g1", "k2", "b2"], ["c2"], name="second", **dilated),
        make_node("Relu", ["c2"], ["r2"], name="relu"),
        make_node("MaxPool", ["r2"], ["p2"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        make_node("Reshape", ["p2", "flat"], ["f2"], name="flatten"),
        make_node("Mul", ["f2", "half"], ["m2"], name="scale"),
        make_node("MatMul", ["m2", "wh"], ["h"], name="hidden"),
        make_node("Add", ["h", "bh"], ["hb"], name="hidden_bias"),
        make_node("Tanh", ["hb"], ["t"], name="tanh"),
        make_node("MatMul", ["t", "wl"], ["y"], name="last"),
    ]
    return build(
        nodes, [value("x", "FP32", (-1, 2, 8, 8))], [value("y", "FP32", (-1, 5))], constants
    )


def feed_forward(random: np.random.Generator, width: int = 8, wide: int = 24) -> onnx.ModelProto:
    """``x`` FP32 [-1, 6, width] through ``wide``, an erf-Gelu of five nodes and ``narrow``, added
    to ``x``: ``y``.
    """
    constants = {
        "w1": normal(random, width, wide, scale=width**-0.5),
        "b1": normal(random, wide),
        "w2": normal(random, wide, width, scale=wide**-0.5),
        "b2": normal(random, width),
        "root": np.array(2**0.5, np.float32),
        "one": np.array([1], np.float32),
        "half": np.array(0.5, np.float32),
    }
    nodes = [
        make_node("MatMul", ["x", "w1"], ["h"], name="wide"),
        make_node("Add", ["b1", "h"], ["hb"], name="wide_bias"),
        make_node("Div", ["hb", "root"], ["g1"], name="gelu1"),
        make_node("Erf", ["g1"], ["g2"], name="gelu2"),
        make_node("Add", ["g2", "one"], ["g3"], name="gelu3"),
        make_node("Mul", ["hb", "g3"], ["g4"], name="gelu4"),
        make_node("Mul", ["g4", "half"], ["g5"], name="gelu5"),
        make_node("MatMul", ["g5", "w2"], ["n"], name="narrow"),
        make_node("Add", ["n", "b2"], ["nb"], name="narrow_bias"),
        make_node("Add", ["nb", "x"], ["y"], name="residual"),
    ]
    return build(
        nodes, [value("x", "FP32", (-1, 6, width))], [value("y", "FP32", (-1, 6, width))], constants
    )


def normal(random: np.random.Generator, *size: int, scale: float = 1.0) -> np.ndarray:
    """Normal float32 values."""
    return (random.normal(size=size) * scale).astype(np.float32)


def correlated(random: np.random.Generator, count: int, *shape: int) -> np.ndarray:
    """Samples FP32 [count, *shape] that vary in few directions, as real ones do."""
    size = int(np.prod(shape))
    mixing = random.normal(size=(max(size // 3, 2), size))
    rows = random.normal(size=(count, len(mixing))) @ mixing / len(mixing) ** 0.5
    noisy: np.ndarray = rows + 0.1 * random.normal(size=rows.shape)
    return noisy.reshape(count, *shape).astype(np.float32)
