"""``compress`` where something fails: it says what, writes nothing, and leaves what was there."""

import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from onnxlift.compress import pipeline
from onnxlift.compress.pipeline import Outcome, compress
from onnxlift.compress.recipes import FP32, Recipe
from onnxlift.config import Config
from onnxlift_runtime.errors import (
    ArtifactError,
    ConfigInvalid,
    ModelRefused,
    OnnxliftError,
    QualityGateFailed,
    RecipeInvalid,
    SamplesInvalid,
)
from tests import builders
from tests.unit.compress.bench import Make, Spoil, offer, raising, silent


@pytest.mark.usefixtures("unmeasured")
def test_a_candidate_that_crashes_is_a_row_with_its_reason(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(model: onnx.ModelProto) -> onnx.ModelProto:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        copy.graph.input[0].name = "renamed"
        copy.graph.node[0].input[0] = "renamed"
        return copy

    def broken(model: onnx.ModelProto) -> onnx.ModelProto:
        return builders.build([helper.make_node("Nothing", ["x"], ["y"])], list(model.graph.input), [])

    crash = Recipe("crash", (Spoil(raising(RuntimeError("out of\nluck"))),))
    offer(monkeypatch, crash, Recipe("rename", (Spoil(renamed),)), Recipe("break", (Spoil(broken),)), FP32)

    outcome = compress(make(), "m", silent)

    reasons = {item.recipe: item.reason for item in outcome.candidates}
    assert outcome.kept_fp32
    assert reasons["crash"] == "RuntimeError: out of luck"
    assert reasons["rename"] == "it changes the model's inputs or outputs"
    assert "cannot load the model" in reasons["break"]


def _gate_fails(make: Make) -> Config:
    return make(recipe="int8-dynamic", quality={**_quality(make), "max_drop": 0.0})


def _quality(make: Make) -> dict[str, Any]:
    return make().models["m"].quality.model_dump()


@pytest.mark.usefixtures("unmeasured")
def test_the_gate_fails_loudly_and_writes_nothing(make: Make, tmp_path: Path) -> None:
    config = _gate_fails(make)

    with pytest.raises(
        QualityGateFailed, match=r"nothing was written: int8-dynamic: cosine falls from 1 to 0\.9999\d+"
    ):
        compress(config, "m", silent)

    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"source": Path("/nowhere.onnx")}, ModelRefused, "cannot be read"),
        ({"classes": ["a"]}, ConfigInvalid, r"models\.m\.classes: has 1 names"),
        ({"classes": Path("/nowhere.txt")}, ConfigInvalid, r"models\.m\.classes: /nowhere\.txt cannot be read"),
        ({"calibration": {"samples": Path("/nowhere.npz")}}, SamplesInvalid, "does not exist"),
        (
            {"calibration": None, "recipe": "int8-static"},
            RecipeInvalid,
            "cannot be applied, nothing was written: it needs",
        ),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(
    make: Make, tmp_path: Path, changes: dict[str, Any], error: type[OnnxliftError], words: str
) -> None:
    with pytest.raises(error, match=words):
        compress(make(**changes), "m", silent)

    assert not (tmp_path / "artifacts").exists()


def test_an_unknown_model_names_the_configured_ones(make: Make) -> None:
    with pytest.raises(ConfigInvalid, match=r"models\.n: there is no such model; configured: m"):
        compress(make(), "n", silent)


def test_samples_that_calibrate_and_judge_are_refused(make: Make, tmp_path: Path) -> None:
    config = make()
    shutil.copy(tmp_path / "heldout.npz", tmp_path / "calibration.npz")

    with pytest.raises(SamplesInvalid, match="60 of 60 held-out samples are also in"):
        compress(config, "m", silent)


STAGES = ["read_source", "read_signature", "load_samples", "choose", "measure", "write_artifact"]


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ArtifactError("disk full"), MemoryError()], ids=repr)
@pytest.mark.parametrize("stage", STAGES)
def test_a_failure_at_any_stage_leaves_the_older_artifact_and_no_scratch(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, error: BaseException
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    config = make()
    outcome = compress(config, "m", silent)
    before = _tree(outcome)
    monkeypatch.setattr(pipeline, stage, raising(error))

    with pytest.raises(type(error)):
        compress(config, "m", silent)

    assert _tree(outcome) == before
    assert [path.name for path in outcome.folder.parent.iterdir()] == ["1"]
    assert list(scratch.iterdir()) == []


@pytest.mark.usefixtures("unmeasured")
def test_an_interruption_inside_a_step_is_not_taken_for_a_crash(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, Recipe("slow", (Spoil(raising(KeyboardInterrupt())),)), FP32)

    with pytest.raises(KeyboardInterrupt):
        compress(make(), "m", silent)

    assert not (tmp_path / "artifacts").exists()


def _tree(outcome: Outcome) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in outcome.folder.iterdir()}
