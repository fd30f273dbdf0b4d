"""Sources as exporters write them: each gets the recipes that its graph allows, whatever form its
constants have.
"""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxlift.compress.pipeline import compare
from tests.support import builders
from tests.support.compress.bench import Make, silent
from tests.support.compress.operators import conv, declared_weights, in_floats

WEIGHT = np.random.default_rng(5).normal(size=(128, 64)).astype(np.float32)


def _behind(operator: str) -> onnx.ModelProto:
    """A MatMul of ``x`` [-1, 128] whose weight is computed from a constant by one operator."""
    constants: dict[str, np.ndarray] = {"start": WEIGHT}
    node = helper.make_node(operator, ["start"], ["w"])
    match operator:
        case "Transpose":
            constants["start"] = np.ascontiguousarray(WEIGHT.T)
        case "Reshape":
            constants |= {"start": WEIGHT.reshape(-1), "shape": np.array([128, 64])}
            node.input.append("shape")
        case "Cast":
            constants["start"] = WEIGHT.astype(np.float16)
            node.attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
    nodes = [node, helper.make_node("MatMul", ["x", "w"], ["y"])]
    given, made = [builders.value("x", "FP32", (-1, 128))], [builders.value("y", "FP32", (-1, 64))]
    return builders.build(nodes, given, made, constants)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("build", "name", "share"),
    [
        (lambda: _behind("Transpose"), "blocks8-nearest", 0.5),
        (lambda: _behind("Reshape"), "blocks8-nearest", 0.5),
        (lambda: _behind("Cast"), "blocks8-nearest", 0.8),
        (lambda: _behind("Identity"), "int8-nearest", 0.5),
        (lambda: in_floats(conv(), TensorProto.FLOAT16), "int8-weights", 1.0),
        (declared_weights, "int8-static", 1.0),
        (declared_weights, "int8-weights", 0.7),
    ],
    ids=["transpose", "reshape", "cast", "identity", "float16", "inputs", "inputs, stored"],
)
def test_a_source_gets_recipes_whatever_form_its_weights_have(
    make: Make, build: Callable[[], onnx.ModelProto], name: str, share: float
) -> None:
    config = make(build())

    row = compare(config, "m", [name], silent).rows[0]

    assert (row.status, row.reason) == ("lost", "it passes")
    assert 0 < row.size_bytes < share * config.models["m"].source.stat().st_size
