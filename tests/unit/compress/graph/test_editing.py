"""The working copy: the given model stays, constants are shared until one user changes, order is
restored.
"""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from onnxlift.compress.graph.editing import Graph
from onnxlift_runtime.errors import RecipeInvalid
from tests.support import builders
from tests.support.compress.closeness import run
from tests.support.errors import raises

ROWS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def _twins() -> onnx.ModelProto:
    """Two products of one shared weight: ``y = x @ w @ w``."""
    weight = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    return builders.build(
        nodes,
        [builders.value("x", "FP32", (-1, 4))],
        [builders.value("y", "FP32", (-1, 4))],
        {"w": weight},
    )


def test_a_changed_weight_leaves_the_other_user_and_the_given_model_alone() -> None:
    model = _twins()
    before = model.SerializeToString()
    graph = Graph(model)
    first, second = graph.projections()

    graph.set_weight(first, first.weight * 2)
    changed = graph.finish()

    assert model.SerializeToString() == before
    assert len(changed.graph.initializer) == 2
    np.testing.assert_allclose(
        run(changed, {"x": ROWS}), ROWS @ first.weight @ second.weight * 2, rtol=1e-5
    )


def test_nodes_without_a_name_get_one_of_their_own() -> None:
    model = _twins()

    names = [node.name for node in Graph(model).nodes]

    assert names == ["MatMul_0", "MatMul_1"]
    assert [node.name for node in model.graph.node] == ["", ""]


def test_a_gemm_with_a_stored_transpose_is_seen_as_inputs_by_outputs() -> None:
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="gemm", transB=1)
    model = builders.build(
        [node],
        [builders.value("x", "FP32", (-1, 4))],
        [builders.value("y", "FP32", (-1, 3))],
        {"w": weight},
    )
    graph = Graph(model)
    (found,) = graph.projections()

    graph.set_weight(found, found.weight + 1)

    assert found.weight.shape == (4, 3)
    np.testing.assert_allclose(run(graph.finish(), {"x": ROWS}), ROWS @ (weight.T + 1), rtol=1e-5)


def test_a_gemm_that_scales_its_product_is_no_projection() -> None:
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="gemm", alpha=0.5)
    weight = np.ones((4, 3), np.float32)
    model = builders.build(
        [node],
        [builders.value("x", "FP32", (-1, 4))],
        [builders.value("y", "FP32", (-1, 3))],
        {"w": weight},
    )

    found = list(Graph(model).projections())

    assert found == []


@pytest.mark.parametrize("bias", [True, False])
def test_an_added_bias_lands_in_the_one_after_or_in_a_new_add(bias: bool) -> None:
    model = builders.linear(bias=bias)
    graph = Graph(model)
    (found,) = graph.projections()

    graph.add_bias(found, np.array([1.0, 2.0, 3.0]))
    changed = graph.finish()

    assert len(changed.graph.node) == 2
    expected = run(model, {"x": ROWS}) + np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(run(changed, {"x": ROWS}), expected, rtol=1e-5)


def test_finish_puts_appended_nodes_where_they_are_needed_and_drops_unread_constants() -> None:
    graph = Graph(builders.mlp())
    graph.add_constant("unread", np.ones(3, np.float32))
    relu = graph.node("relu")
    graph.add_node("Neg", ["h"], ["negative"])
    graph.rewire("h", "negative", [relu])

    changed = graph.finish()

    assert [node.op_type for node in changed.graph.node] == [
        "Gemm",
        "Neg",
        "Relu",
        "Gemm",
        "Softmax",
    ]
    assert "unread" not in {tensor.name for tensor in changed.graph.initializer}


def test_asking_for_a_node_that_is_not_there_says_so() -> None:
    graph = Graph(builders.mlp())

    with raises(RecipeInvalid, "'gone'"):
        graph.node("gone")


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(4)))
def test_any_order_of_nodes_comes_out_topological(order: list[int]) -> None:
    model = builders.mlp()
    nodes = [model.graph.node[index] for index in order]
    shuffled = onnx.ModelProto()
    shuffled.CopyFrom(model)
    del shuffled.graph.node[:]
    shuffled.graph.node.extend(nodes)

    names = [node.name for node in Graph(shuffled).finish().graph.node]

    assert names == ["gemm1", "relu", "gemm2", "softmax"]
