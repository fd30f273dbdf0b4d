"""Beginnings: made once, the same as without sharing, and nothing is kept of what failed."""

from pathlib import Path

import onnx
import pytest

from onnxlift.compress.recipes.prefixes import Beginning, begin
from onnxlift.compress.recipes.recipe import Recipe
from onnxlift.compress.steps import Context
from onnxlift.compress.steps.cache import WeightCache
from onnxlift.compress.steps.clean import Clean
from onnxlift.compress.steps.embeddings import Embeddings
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from onnxlift.compress.steps.prune_structured import PruneStructured
from onnxlift.compress.steps.smooth_quant import SmoothQuant
from onnxlift.compress.steps.weight_blocks import WeightBlocks
from onnxlift_runtime.errors import SamplesInvalid
from tests.support.compress.transformer import samples, transformer

STEPS = (Clean(), SmoothQuant(), MatMulInt8())


def test_the_beginning_is_what_the_steps_make_and_the_rest_is_left(tmp_path: Path) -> None:
    context = Context(samples())

    begun = begin(tmp_path / "kept", transformer(), STEPS, context)

    assert begun.steps == (MatMulInt8(),)
    assert begun.model == Recipe("whole", STEPS[:2]).apply(transformer(), context)


def test_a_beginning_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    first = begin(tmp_path, transformer(), STEPS, Context(samples()))

    second = begin(tmp_path, onnx.ModelProto(), STEPS, Context())

    assert second.model == first.model


def test_only_what_went_well_is_kept(tmp_path: Path) -> None:
    with pytest.raises(SamplesInvalid):
        begin(tmp_path, transformer(), STEPS, Context())

    assert [onnx.load(path) for path in tmp_path.glob("*.onnx")] == [
        Clean().apply(transformer(), Context())
    ]


def test_a_recipe_that_prepares_nothing_starts_from_the_model(tmp_path: Path) -> None:
    model = transformer()

    assert begin(tmp_path, model, (MatMulInt8(),), Context()) == Beginning(
        model, (MatMulInt8(),), Context()
    )


def test_what_a_recipe_stores_is_the_same_whatever_was_stored_before_it(tmp_path: Path) -> None:
    coarse = Embeddings(2, 16, smallest_bytes=1)
    alone, together = (
        begin(tmp_path / name, transformer(), (Clean(), *steps), Context(samples())).finish()
        for name, steps in (
            ("alone", (WeightBlocks(4, 32),)),
            ("together", (coarse, WeightBlocks(4, 32))),
        )
    )

    weights = {tensor.name: tensor.raw_data for tensor in alone.graph.initializer}
    stored = {tensor.name: tensor.raw_data for tensor in together.graph.initializer}
    assert {name: stored[name] for name in weights if name != "words"} == {
        name: data for name, data in weights.items() if name != "words"
    }


def test_a_recipe_that_another_went_before_is_the_same_as_alone(tmp_path: Path) -> None:
    steps = (Clean(), SmoothQuant(), WeightBlocks(8, 32, only=("wide",)), MatMulInt8())
    context = Context(samples())
    alone = begin(tmp_path / "alone", transformer(), steps, context).finish()
    begin(tmp_path / "after", transformer(), STEPS, context).finish()

    after = begin(tmp_path / "after", transformer(), steps, context).finish()

    assert after == alone


def test_steps_that_change_more_than_weights_share_nothing(tmp_path: Path) -> None:
    begun = begin(
        tmp_path, transformer(), (Clean(), PruneStructured(), MatMulInt8()), Context(samples())
    )

    assert (begun.context.origin, begun.context.cache) == (None, WeightCache())
