"""Beginnings: made once, the same as without sharing, and nothing is kept of what failed."""

from pathlib import Path

import onnx
import pytest

from onnxlift.compress.recipes import Recipe
from onnxlift.compress.shared import begin
from onnxlift.compress.steps import Context
from onnxlift.compress.steps.clean import Clean
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from onnxlift.compress.steps.smooth_quant import SmoothQuant
from onnxlift_runtime.errors import SamplesInvalid
from tests.unit.compress.transformer import samples, transformer

STEPS = (Clean(), SmoothQuant(), MatMulInt8())


def test_the_beginning_is_what_the_steps_make_and_the_rest_is_left(tmp_path: Path) -> None:
    context = Context(samples())

    model, left = begin(tmp_path / "kept", transformer(), STEPS, context)

    assert left == (MatMulInt8(),)
    assert model == Recipe("whole", STEPS[:2]).apply(transformer(), context)


def test_a_beginning_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    first, _ = begin(tmp_path, transformer(), STEPS, Context(samples()))

    second, _ = begin(tmp_path, onnx.ModelProto(), STEPS, Context())

    assert second == first


def test_nothing_is_kept_of_steps_that_fail(tmp_path: Path) -> None:
    with pytest.raises(SamplesInvalid):
        begin(tmp_path, transformer(), STEPS, Context())

    assert not list(tmp_path.glob("*.onnx"))


def test_a_recipe_that_prepares_nothing_starts_from_the_model(tmp_path: Path) -> None:
    model = transformer()

    assert begin(tmp_path, model, (MatMulInt8(),), Context()) == (model, (MatMulInt8(),))
