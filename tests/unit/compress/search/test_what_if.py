"""Overrides: without changes the model's answers, with one those of the model that has this
weight.
"""

import numpy as np
import pytest

from onnxlift.compress.graph.editing import Graph
from onnxlift.compress.search.what_if import Overrides
from tests.support.compress.closeness import run
from tests.support.compress.transformer import samples, transformer

FEED = samples(count=3)


@pytest.mark.parametrize("rounded", [False, True])
def test_without_a_change_the_answers_are_the_models_own(rounded: bool) -> None:
    model = transformer()
    session = Overrides(model, ["query", "wide"], [FEED], "vector", rounded=rounded)

    (answer,) = session.answers()

    np.testing.assert_allclose(answer, run(model, FEED), rtol=1e-5, atol=1e-5)


def test_another_weight_gives_the_answers_of_the_model_that_has_it() -> None:
    graph = Graph(transformer())
    wide = graph.projection("wide")
    session = Overrides(transformer(), ["query", "wide"], [FEED], "vector")

    (answer,) = session.answers("wide", wide.weight * 2)

    graph.set_weight(wide, wide.weight * 2)
    np.testing.assert_allclose(answer, run(graph.finish(), FEED), rtol=1e-4, atol=1e-4)


def test_a_table_can_be_replaced_too() -> None:
    session = Overrides(transformer(), ["lookup"], [FEED], "vector")
    table = Graph(transformer()).constant("words")
    assert table is not None

    (same,), (other,) = session.answers("lookup", table), session.answers("lookup", table[::-1])

    np.testing.assert_array_equal(same, session.answers()[0])
    assert np.abs(other - same).max() > 0.1


def test_rounding_the_input_of_the_changed_node_alone_costs_a_little() -> None:
    weight = Graph(transformer()).projection("wide").weight
    session = Overrides(transformer(), ["query", "wide"], [FEED], "vector", rounded=True)

    (before,), (after,) = session.answers(), session.answers("wide", weight)

    assert 0 < np.abs(after - before).max() < 0.5
