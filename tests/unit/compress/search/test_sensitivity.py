"""What each node loses alone: every projection and table, at every precision, found once."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxlift.compress.model.samples import Samples
from onnxlift.compress.recipes.prefixes import begin
from onnxlift.compress.results import NodeSensitivity
from onnxlift.compress.search import sensitivity
from onnxlift.compress.search.sensitivity import rank
from onnxlift.compress.search.workspace import Workspace
from onnxlift.compress.steps import Context
from onnxlift.compress.steps.clean import Clean
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from onnxlift.compress.steps.smooth_quant import SmoothQuant
from onnxlift.compress.steps.weight_blocks import WeightBlocks
from tests.support import builders
from tests.support.compress.bench import raising
from tests.support.compress.closeness import run
from tests.support.compress.transformer import samples, transformer

TEXT = Samples(samples())
PROJECTIONS = {"query", "key", "value", "dense", "wide", "narrow"}


def _rank(
    folder: Path, model: onnx.ModelProto | None = None, rows: int = 1
) -> dict[str, NodeSensitivity]:
    found = rank(Workspace(folder), model or transformer(), TEXT, "vector", rows, MatMulInt8())
    return {node.node: node for node in found}


def _errors(node: NodeSensitivity) -> dict[str, float]:
    return {item.precision: item.error for item in node.errors}


def test_every_projection_and_table_is_looked_at_in_every_precision(tmp_path: Path) -> None:
    found = _rank(tmp_path)

    assert set(found) == {*PROJECTIONS, "lookup"}
    for name in PROJECTIONS:
        errors = _errors(found[name])
        assert set(errors) == {"8-bit", "4-bit", "int8"}
        assert 0 < errors["8-bit"] < errors["4-bit"] < 0.1
    assert set(_errors(found["lookup"])) == {"8-bit", "4-bit"}
    assert (found["lookup"].operator, found["lookup"].size_bytes) == ("Gather", 600 * 32 * 4)


def test_a_node_s_loss_is_that_of_the_model_with_this_node_alone_compressed(tmp_path: Path) -> None:
    found = _rank(tmp_path)
    given = dict(TEXT.limit(12).columns)
    changed = begin(
        tmp_path / "beginnings",
        transformer(),
        (Clean(), WeightBlocks(4, 32, symmetric=False, only=("wide",))),
        Context(TEXT.columns),
    ).finish()

    before, after = (run(model, given).astype(np.float64) for model in (transformer(), changed))
    loss = np.mean(np.square(after - before).sum(axis=1) / np.square(before).sum(axis=1)) / 2
    # The kernel rounds activations in blocks as well, which the look at the weight alone leaves
    # out.
    assert _errors(found["wide"])["4-bit"] == pytest.approx(loss, rel=0.5)


def test_what_was_found_is_kept(tmp_path: Path) -> None:
    first = _rank(tmp_path)

    assert _rank(tmp_path, builders.mlp()) == first


def test_what_is_looked_at_is_what_recipes_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _rank(tmp_path)
    monkeypatch.setattr(WeightBlocks, "quantize", raising(AssertionError("made again")))
    monkeypatch.setattr(MatMulInt8, "quantize", raising(AssertionError("made again")))

    for steps in ((Clean(), WeightBlocks(8)), (Clean(), SmoothQuant(), MatMulInt8())):
        begun = begin(tmp_path / "beginnings", transformer(), steps, Context(TEXT.columns))
        assert begun.finish().graph.node


def test_int8_is_looked_at_as_many_rows_at_a_time_as_are_served(tmp_path: Path) -> None:
    alone, together = (_rank(_made(tmp_path / str(rows)), rows=rows) for rows in (1, 24))

    lost = [
        sum(_errors(found[name])["int8"] for name in PROJECTIONS) for found in (alone, together)
    ]
    assert lost[1] > lost[0]
    assert {name: _errors(alone[name])["4-bit"] for name in PROJECTIONS} == {
        name: _errors(together[name])["4-bit"] for name in PROJECTIONS
    }


def test_without_smoothing_the_rest_is_still_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensitivity, "_smooth_cases", raising(RuntimeError("no")))

    found = _rank(tmp_path)

    assert set(_errors(found["wide"])) == {"8-bit", "4-bit"}


def test_a_model_that_cannot_be_taken_apart_has_no_ranking(tmp_path: Path) -> None:
    assert rank(Workspace(tmp_path), builders.failing(), TEXT, "y", 1, MatMulInt8()) == ()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
