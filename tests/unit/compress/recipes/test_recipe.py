"""Recipes are data; what is illegal names what is legal; presets fit target and graph."""

import json
from dataclasses import replace

import pytest

from onnxlift.compress.recipes.presets import PRESETS, recipe, recipes
from onnxlift.compress.recipes.recipe import FP32, WORST, Recipe, steps_from_data
from onnxlift.compress.recipes.traits import read_traits
from onnxlift.compress.steps import Context, Step
from onnxlift.compress.steps.clean import Clean
from onnxlift.compress.steps.embeddings import Embeddings
from onnxlift.compress.steps.int8_dynamic import Int8Dynamic
from onnxlift.compress.steps.int8_static import Int8Static
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from onnxlift.compress.steps.smooth_quant import SmoothQuant
from onnxlift.compress.steps.weight_blocks import WeightBlocks
from onnxlift_runtime.errors import RecipeInvalid, SamplesInvalid
from tests.support import builders
from tests.support.compress.transformer import transformer
from tests.support.errors import raises


@pytest.mark.parametrize("target", sorted(PRESETS))
def test_every_preset_ends_with_fp32_and_has_no_name_twice(target: str) -> None:
    names = [item.name for item in recipes(target)]

    assert names[-1] == "fp32"
    assert len(names) == len(set(names))


@pytest.mark.parametrize("target", sorted(PRESETS))
def test_every_recipe_survives_being_written_down(target: str) -> None:
    for item in recipes(target):
        steps = steps_from_data(json.loads(json.dumps(item.to_data())))

        assert steps == item.steps
        assert all(isinstance(step, Step) for step in steps)


@pytest.mark.parametrize("target", ["x86_64", "arm64"])
def test_a_transformer_has_a_dozen_recipes_and_none_with_one_range_for_all(target: str) -> None:
    found = recipes(target, replace(read_traits(transformer()), large_tables=True))

    assert len(found) >= 12
    assert not any(isinstance(step, Int8Static) for item in found for step in item.steps)


def test_a_convolution_has_static_recipes_and_none_of_projections() -> None:
    names = [item.name for item in recipes("x86_64", read_traits(builders.convolution()))]

    assert {
        "int8-static",
        "int8-static-entropy",
        "int8-static-percentile",
        "int8-dynamic",
        "fp32",
    } <= set(names)
    assert not any(name.startswith(("int8-smooth", "blocks")) for name in names)


def test_a_graph_without_tables_gets_recipes_without_their_step() -> None:
    found = recipes("x86_64", read_traits(builders.mlp()))

    assert any(isinstance(step, MatMulInt8) for item in found for step in item.steps)
    assert not any(isinstance(step, Embeddings) for item in found for step in item.steps)
    assert not any("tables" in item.name for item in found)


@pytest.mark.parametrize("large", [False, True])
def test_recipes_for_large_tables_are_tried_where_there_are_some(large: bool) -> None:
    found = recipes("x86_64", replace(read_traits(transformer()), large_tables=large))

    assert any(isinstance(step, Embeddings) for item in found for step in item.steps)
    assert any(item.name.endswith("-tables4") for item in found) == large


def test_weights_for_x86_64_cannot_saturate_unless_the_recipe_says_so() -> None:
    safe = [step for item in recipes("x86_64") if item.isa_safe for step in item.steps]

    assert all(step.reduce_range for step in safe if isinstance(step, Int8Dynamic | Int8Static))
    assert all(step.saturation == "avoid" for step in safe if isinstance(step, MatMulInt8))
    assert [item.name for item in recipes("x86_64") if not item.isa_safe] == ["int8-smooth-vnni"]


def test_fp32_is_the_model_as_it_came() -> None:
    model = builders.mlp()

    assert FP32.apply(model, Context()) is model


def test_the_worst_nodes_take_their_place_in_the_settings() -> None:
    item = recipe("int8-smooth-mix2", "x86_64")

    resolved = item.resolved(["b", "c", "a"])

    assert not item.is_resolved
    assert resolved.is_resolved
    assert [step.only for step in resolved.steps if isinstance(step, WeightBlocks)] == [("b", "c")]
    assert resolved.digest != item.digest


def test_a_model_without_enough_nodes_leaves_a_recipe_open() -> None:
    assert not recipe("int8-smooth-mix2", "x86_64").resolved(["a", "b"]).is_resolved


def test_words_name_the_settings_that_are_not_defaults() -> None:
    tables = Embeddings(4, block=32, symmetric=False, smallest_bytes=2**20)

    told = Recipe(
        "r", (Clean(), SmoothQuant(alpha=0.7), tables, WeightBlocks(only=("a", "b")))
    ).words

    assert told == (
        "clean graph",
        "SmoothQuant: alpha 0.7",
        "embeddings in 4 bits: block 32, not symmetric, smallest bytes 1,048,576",
        "weights in blocks of 8 bits: only a, b",
    )


def test_nodes_that_a_model_has_yet_to_tell_are_named_in_words() -> None:
    assert Recipe("r", (WeightBlocks(only=WORST),)).words == (
        "weights in blocks of 8 bits: only the most sensitive nodes",
    )


@pytest.mark.parametrize("target", sorted(PRESETS))
def test_every_step_of_a_preset_is_told_in_words_of_its_own(target: str) -> None:
    kinds = {type(step).__name__ for item in recipes(target) for step in item.steps}
    words = {line for item in recipes(target) for line in item.words}

    assert not {line.partition(":")[0] for line in words} & (kinds - {"SmoothQuant"})


def test_the_digest_is_of_the_steps_alone() -> None:
    assert Recipe("a", (Clean(),)).digest == Recipe("b", (Clean(),), isa_safe=False).digest
    assert Recipe("a", (Clean(),)).digest != Recipe("a", (Clean(optimize=False),)).digest


@pytest.mark.parametrize("target", ["x86_64", "arm64", "gpu"])
def test_a_recipe_works_without_samples_unless_it_says_that_it_needs_them(target: str) -> None:
    for item in (item.resolved([f"n{index}" for index in range(10)]) for item in recipes(target)):
        model = transformer() if "convolutions" not in item.needs else builders.convolution()
        try:
            Recipe(item.name, _everywhere(item.steps)).apply(model, Context())
            failed = False
        except SamplesInvalid:
            failed = True

        assert failed == item.needs_samples, item.name


def _everywhere(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The same steps for all nodes of any size: those of a preset name what a tiny model has
    not.
    """
    small = [
        replace(step, smallest_bytes=1) if isinstance(step, Embeddings) else step for step in steps
    ]
    return tuple(
        replace(step, only=("query",)) if isinstance(step, WeightBlocks) and step.only else step
        for step in small
    )


def test_an_unknown_name_names_the_legal_ones() -> None:
    with raises(RecipeInvalid, "'int4'", "arm64", "auto", "int8-static", "fp32"):
        recipe("int4", "arm64")


def test_an_unknown_target_names_the_legal_ones() -> None:
    with raises(RecipeInvalid, "'riscv'", "x86_64", "arm64", "gpu"):
        recipes("riscv")


@pytest.mark.parametrize(
    ("steps", "data"),
    [
        (
            (Clean(), Int8Dynamic(), Int8Static()),
            ("MatMulInt8", "Int8Dynamic", "Int8Static"),
        ),
        ((Clean(), Clean()), ("repeats", "Clean")),
        (
            (MatMulInt8(), SmoothQuant()),
            ("SmoothQuant before MatMulInt8",),
        ),
        ((SmoothQuant(), Clean()), ("Clean before SmoothQuant",)),
        (
            (WeightBlocks(8), MatMulInt8()),
            ("MatMulInt8", "WeightBlocks(only=...)"),
        ),
    ],
)
def test_an_illegal_combination_names_the_legal_one(
    steps: tuple[Step, ...], data: tuple[object, ...]
) -> None:
    with raises(RecipeInvalid, *data):
        Recipe("wrong", steps)


def test_blocks_for_some_nodes_may_come_before_int8_for_the_others() -> None:
    assert Recipe("mixed", (WeightBlocks(8, only=WORST), MatMulInt8())).steps
