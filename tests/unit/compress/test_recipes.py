"""Recipes are data; what is illegal names what is legal."""

import pytest

from onnxlift.compress.recipes import FP32, PRESETS, Recipe, recipe, recipes
from onnxlift.compress.steps import Context, Step
from onnxlift.compress.steps.clean import Clean
from onnxlift.compress.steps.int8_dynamic import Int8Dynamic
from onnxlift.compress.steps.int8_static import Int8Static
from onnxlift_runtime.errors import RecipeInvalid
from tests import builders


@pytest.mark.parametrize("architecture", sorted(PRESETS))
def test_every_preset_has_fp32_and_no_name_twice(architecture: str) -> None:
    names = [item.name for item in recipes(architecture)]

    assert names[-1] == "fp32"
    assert len(names) == len(set(names))


@pytest.mark.parametrize("architecture", sorted(PRESETS))
def test_every_step_of_every_preset_is_a_step(architecture: str) -> None:
    steps = [step for item in recipes(architecture) for step in item.steps]

    assert steps
    assert all(isinstance(step, Step) for step in steps)


def test_weights_for_x86_64_cannot_saturate() -> None:
    quantizing = [
        step for item in recipes("x86_64") for step in item.steps if isinstance(step, Int8Dynamic | Int8Static)
    ]

    assert quantizing
    assert all(step.reduce_range for step in quantizing)


def test_fp32_is_the_model_as_it_came() -> None:
    model = builders.mlp()

    assert FP32.apply(model, Context()) is model
    assert not FP32.needs_samples


def test_only_static_recipes_need_samples() -> None:
    needing = {item.name for item in recipes("x86_64") if item.needs_samples}

    assert needing == {"int8-static", "int8-static-entropy", "int8-static-percentile"}


def test_an_unknown_name_names_the_legal_ones() -> None:
    with pytest.raises(
        RecipeInvalid, match=r"no recipe 'int4' for arm64; legal: auto, int8-static, .*int8-dynamic, fp32"
    ):
        recipe("int4", "arm64")


def test_an_unknown_target_names_the_legal_ones() -> None:
    with pytest.raises(RecipeInvalid, match=r"no recipes for 'riscv'; there are for x86_64, arm64"):
        recipes("riscv")


def test_quantizing_twice_names_the_legal_steps() -> None:
    with pytest.raises(RecipeInvalid, match=r"quantizes twice .*; legal: one of Int8Dynamic or Int8Static"):
        Recipe("both", (Clean(), Int8Dynamic(), Int8Static()))


def test_a_repeated_step_is_refused() -> None:
    with pytest.raises(RecipeInvalid, match="repeats Clean"):
        Recipe("twice", (Clean(), Clean()))
