"""Predictions are sums: what they add, what they leave open, and which recipes they spare."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift.compress.recipes.presets import recipe
from onnxlift.compress.recipes.recipe import Recipe
from onnxlift.compress.results import NodeSensitivity, PrecisionError
from onnxlift.compress.search.prediction import (
    HOPELESS,
    Prediction,
    by_promise,
    predict,
    unpromising,
    worst,
)
from onnxlift.compress.steps.embeddings import Embeddings
from onnxlift.compress.steps.int8_dynamic import Int8Dynamic
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from onnxlift.compress.steps.smooth_quant import SmoothQuant
from onnxlift.compress.steps.weight_blocks import WeightBlocks

errors = st.floats(0, 1)


def _node(
    name: str, int8: float, eight: float, four: float, operator: str = "MatMul"
) -> NodeSensitivity:
    found = {"int8": int8, "8-bit": eight, "4-bit": four}
    return NodeSensitivity(
        name, operator, name, 4000, tuple(PrecisionError(k, v) for k, v in found.items())
    )


nodes = st.lists(st.tuples(errors, errors, errors), min_size=3, max_size=10).map(
    lambda rows: [_node(f"n{index}", *row) for index, row in enumerate(rows)]
)


@given(nodes)
def test_the_predicted_error_is_the_sum_over_the_nodes(found: list[NodeSensitivity]) -> None:
    prediction = predict(Recipe("r", (SmoothQuant(), MatMulInt8())), found, 100_000)

    assert prediction is not None
    assert prediction.error == pytest.approx(sum(node.errors[0].error for node in found))
    assert prediction.size_bytes == 100_000 - 3000 * len(found)


@given(nodes, st.integers(1, 2))
def test_protecting_nodes_takes_their_error_for_another(
    found: list[NodeSensitivity], protect: int
) -> None:
    names = worst(found, "int8")[:protect]
    steps = (SmoothQuant(), WeightBlocks(8, only=names), MatMulInt8())

    prediction = predict(Recipe("r", steps), found, 100_000)

    assert prediction is not None
    assert prediction.error == pytest.approx(
        sum(node.errors[1 if node.node in names else 0].error for node in found)
    )


def test_tables_count_with_their_own_precision() -> None:
    found = [_node("m", 0.1, 0.01, 0.5), _node("t", 0.0, 0.002, 0.03, "Gather")]

    prediction = predict(
        Recipe("r", (Embeddings(4, smallest_bytes=1), SmoothQuant(), MatMulInt8())), found, 8_000
    )

    assert prediction is not None
    assert prediction.error == pytest.approx(0.13)
    assert prediction.size_bytes < 8_000 * 0.3


@pytest.mark.parametrize(
    "steps", [(Int8Dynamic(),), (MatMulInt8(),), (SmoothQuant(), WeightBlocks(2))]
)
def test_what_was_not_measured_is_not_predicted(steps: tuple) -> None:
    assert predict(Recipe("r", steps), [_node("m", 0.1, 0.1, 0.1)], 8_000) is None


def test_the_worst_lose_most_for_each_byte() -> None:
    small = NodeSensitivity("small", "MatMul", "l", 1000, (PrecisionError("int8", 0.2),))

    assert worst(
        [_node("a", 0.3, 0, 0), small, _node("t", 9, 0, 0, "Gather"), _node("b", 0.5, 0, 0)], "int8"
    ) == (
        "small",
        "b",
        "a",
    )


def test_a_recipe_that_another_beats_in_both_is_not_tried() -> None:
    first, second = (recipe(name, "x86_64") for name in ("blocks8", "blocks8-tables4"))

    reasons = unpromising(
        [first, second],
        {"blocks8": Prediction(0.2, 100), "blocks8-tables4": Prediction(0.05, 50)},
        allowed=None,
    )

    assert reasons == {
        "blocks8": "not tried: blocks8-tables4 is predicted to be smaller and closer"
    }


def test_a_recipe_is_not_given_up_for_products_of_another_width() -> None:
    wide, narrow = (recipe(name, "x86_64") for name in ("blocks8-tables4", "blocks4"))
    predictions = {"blocks8-tables4": Prediction(0.001, 50), "blocks4": Prediction(0.01, 100)}

    assert unpromising([wide, narrow], predictions, allowed=0.01) == {}


def test_a_recipe_that_another_beats_by_little_is_tried() -> None:
    first, second = (recipe(name, "x86_64") for name in ("blocks8", "blocks8-tables4"))
    predictions = {"blocks8": Prediction(0.2, 100), "blocks8-tables4": Prediction(0.15, 90)}

    assert unpromising([first, second], predictions, allowed=None) == {}


def test_what_surely_passes_is_tried_first_and_what_needs_luck_last() -> None:
    names = ("int8-smooth", "blocks8-nearest", "blocks8", "blocks4-mix9", "blocks4")
    tried = [recipe(name, "x86_64") for name in names]
    predictions = {
        "int8-smooth": Prediction(0.002, 100),
        "blocks8": Prediction(0.001, 120),
        "blocks4-mix9": Prediction(0.008, 60),
        "blocks4": Prediction(0.02, 50),
    }

    found = by_promise(tried, predictions, 0.01, smallest=True)

    assert [item.name for item in found] == [
        "int8-smooth",
        "blocks4-mix9",
        "blocks8",
        "blocks8-nearest",
        "blocks4",
    ]


def test_without_an_allowed_error_the_preferred_are_tried_first() -> None:
    tried = [recipe(name, "x86_64") for name in ("blocks8", "blocks4")]

    assert by_promise(tried, {"blocks4": Prediction(0.1, 1)}, None, smallest=True) == tried


def test_a_safe_recipe_is_not_given_up_for_one_that_may_saturate() -> None:
    safe, unsafe = (recipe(name, "x86_64") for name in ("int8-smooth", "int8-smooth-vnni"))
    predictions = {"int8-smooth": Prediction(0.2, 100), "int8-smooth-vnni": Prediction(0.1, 50)}

    assert unpromising([safe, unsafe], predictions, allowed=None) == {}


@given(st.floats(1e-6, 1), st.floats(1e-6, 1))
def test_only_what_is_hopeless_is_spared(error: float, allowed: float) -> None:
    reasons = unpromising(
        [recipe("blocks4", "x86_64")], {"blocks4": Prediction(error, 10)}, allowed
    )

    assert bool(reasons) == (error > HOPELESS * allowed)
