"""What steps say about themselves: every kind has what recipes, search and report ask."""

from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from onnxlift.compress.calibration.moments import Moments
from onnxlift.compress.graph.editing import Graph
from onnxlift.compress.recipes.presets import PRESETS
from onnxlift.compress.results import NodeSensitivity
from onnxlift.compress.steps import Context, Stage, Step, kinds
from onnxlift.compress.steps.cache import WeightCache
from onnxlift.compress.steps.clean import Clean
from onnxlift.compress.steps.embeddings import Embeddings
from onnxlift.compress.steps.int8_static import Int8Static
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from onnxlift.compress.steps.smooth_quant import SmoothQuant
from onnxlift.compress.steps.weight_blocks import WeightBlocks
from tests.support.compress.bench import Fail
from tests.support.compress.transformer import samples, transformer
from tests.support.errors import raises

MATRIX = NodeSensitivity("m", "MatMul", "l", 4_000, ())
TABLE = NodeSensitivity("t", "Gather", "l", 70_000, ())


def test_the_kinds_are_the_steps_that_recipes_are_made_of() -> None:
    used = {type(step) for preset in PRESETS.values() for item in preset() for step in item.steps}

    assert set(kinds()) == used
    assert len(kinds()) == len(used)


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_is_frozen_settings_under_a_title_of_its_own(kind: type[Step]) -> None:
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert kind.title
    assert [other for other in kinds() if other.title == kind.title] == [kind]
    assert not {"title", "stage", "trait"} & {item.name for item in fields(kind)}


def test_a_step_that_says_nothing_more_stands_anywhere_and_stores_nothing() -> None:
    step = Fail()

    assert (step.title, step.stage, step.trait, step.precision) == ("", None, "", "")
    assert not any((step.prepares, step.stores, step.multiplies, step.takes_all))
    assert not any((step.needs_samples, step.reaches(MATRIX), step.is_predictable((step,))))
    assert step.kept_share == 1


def test_only_what_stores_weights_one_by_one_restores_them() -> None:
    model = transformer()

    with raises(NotImplementedError, "Fail"):
        Fail().restored(
            Graph(model), "query", Moments(model, (), {}, int8_noise=False), Context().cache
        )


@pytest.mark.parametrize(
    ("step", "matrix", "table"),
    [
        (WeightBlocks(), True, False),
        (WeightBlocks(only=("m",)), True, False),
        (WeightBlocks(only=("n",)), False, False),
        (WeightBlocks(exclude=("m",)), False, False),
        (MatMulInt8(), True, False),
        (MatMulInt8(exclude=("m",)), False, False),
        (Embeddings(), False, True),
        (Embeddings(smallest_bytes=80_000), False, False),
        (Embeddings(exclude=("t",)), False, False),
        (Int8Static(), False, False),
    ],
    ids=repr,
)
def test_a_step_reaches_the_nodes_that_its_settings_leave(
    step: Step, matrix: bool, table: bool
) -> None:
    assert (step.reaches(MATRIX), step.reaches(TABLE)) == (matrix, table)


def test_int8_is_predictable_where_activations_are_smoothed() -> None:
    step = MatMulInt8()

    assert step.is_predictable((Clean(), SmoothQuant(), step))
    assert not step.is_predictable((Clean(), step))
    assert not Int8Static().is_predictable((SmoothQuant(), Int8Static()))


def test_blocks_take_all_nodes_unless_some_are_named() -> None:
    assert WeightBlocks().takes_all
    assert not WeightBlocks(only=("m",)).takes_all
    assert not WeightBlocks(exclude=("m",)).takes_all
    assert not MatMulInt8().takes_all


def test_the_stages_keep_their_order() -> None:
    assert sorted(kind.stage for kind in kinds() if kind.stage is not None) == [
        *(Stage.CLEAN, Stage.SMOOTH, Stage.BLOCKS),
        *([Stage.INT8] * 3),
    ]


@pytest.mark.parametrize(
    ("step", "node"),
    [
        (WeightBlocks(4, 32, method="hqq"), "wide"),
        (MatMulInt8("nearest"), "wide"),
        (Embeddings(8, 32, smallest_bytes=1), "lookup"),
    ],
    ids=repr,
)
def test_restored_weights_have_the_shape_of_the_node_and_are_close(step: Step, node: str) -> None:
    model = Clean().apply(transformer(), Context())
    graph = Graph(model)
    position = 0 if node == "lookup" else 1
    weight = graph.constant(graph.node(node).input[position])
    assert weight is not None

    found = step.restored(
        graph, node, Moments(model, (), samples(), int8_noise=False), WeightCache()
    )

    assert found.shape == weight.shape
    assert np.abs(found - weight).max() < 0.1 * np.abs(weight).max()
