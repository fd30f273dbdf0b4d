"""What kind of graph a model is."""

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxlift.compress.recipes.traits import Traits, read_traits
from tests.support import builders
from tests.support.compress.operators import branches
from tests.support.compress.transformer import transformer


def _conv_of_computed_kernel() -> onnx.ModelProto:
    inputs = [builders.value("x", "FP32", (1, 1, 8, 8)), builders.value("k", "FP32", (1, 1, 3, 3))]
    node = helper.make_node("Conv", ["x", "k"], ["y"])
    return builders.build([node], inputs, [builders.value("y", "FP32", (1, 1, 6, 6))])


def _fused_attention() -> onnx.ModelProto:
    inputs = [builders.value(name, "FP32", (1, 4, 8)) for name in ("q", "k", "v")]
    node = helper.make_node(
        "MultiHeadAttention", ["q", "k", "v"], ["y"], domain="com.microsoft", num_heads=2
    )
    return builders.build([node], inputs, [builders.value("y", "FP32", (1, 4, 8))])


def _lookup(rows: int, columns: int = 64, axis: int = 0) -> onnx.ModelProto:
    table = np.zeros((rows, columns) if axis == 0 else (columns, rows), np.float32)
    node = helper.make_node("Gather", ["table", "x"], ["y"], axis=axis)
    output = builders.value("y", "FP32", (-1, columns) if axis == 0 else (columns, -1))
    return builders.build([node], [builders.value("x", "INT64", (-1,))], [output], {"table": table})


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (transformer(), {"projections", "tables", "attention", "weights"}),
        (builders.mlp(), {"projections", "weights"}),
        (builders.convolution(), {"convolutions", "projections", "weights"}),
        (builders.identity(), set()),
        (_conv_of_computed_kernel(), set()),
        (_fused_attention(), {"attention"}),
        (branches(), {"weights"}),
        (_lookup(256), {"tables", "weights"}),
        (_lookup(4_095), {"tables", "weights"}),
        (_lookup(4_096), {"tables", "large_tables", "weights"}),
        (_lookup(255), {"weights"}),
        (_lookup(256, axis=1), {"weights"}),
        (_lookup(256, columns=100), {"weights"}),  # no block of columns that share a scale fits
    ],
    ids=[
        *("transformer", "mlp", "convolution", "identity", "computed kernel"),
        *(
            "fused",
            "branches",
            "table",
            "not yet large",
            "large",
            "small",
            "columns",
            "unequal blocks",
        ),
    ],
)
def test_a_graph_has_the_traits_of_its_operators(model: onnx.ModelProto, names: set[str]) -> None:
    before = model.SerializeToString()

    traits = read_traits(model)

    assert traits.names == names
    assert model.SerializeToString() == before


def test_names_are_those_of_the_fields_that_hold() -> None:
    assert Traits(
        projections=True, convolutions=False, tables=True, large_tables=False, attention=False
    ).names == {
        "projections",
        "tables",
    }
