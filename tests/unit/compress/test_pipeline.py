"""``compress`` from end to end on tiny models: the artifact, the gate, and every way to fail."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxlift.compress import measure as measuring
from onnxlift.compress import pipeline
from onnxlift.compress.pipeline import Outcome, compress
from onnxlift.compress.recipes import FP32, PRESETS, Recipe
from onnxlift.compress.steps import Context
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
from onnxlift_runtime.manifest import Latency, Measurements, file_sha256, read_manifest, verify_files
from onnxlift_runtime.session import Session
from tests import builders

FIGURES = Measurements(5.0, 60.0, (Latency(1, 0.1, 0.2),), "test", 1, "1.31.1")
Make = Callable[..., Config]


def _silent(_doing: str, _done: int, _total: int) -> None:
    pass


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a model with calibration and held-out samples, and configure it as ``m``; keywords change its table."""

    def make(model: onnx.ModelProto | None = None, **changes: Any) -> Config:
        model = model or builders.mlp(16, 64, 4)
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        random = np.random.default_rng(5)
        shape = [dim.dim_value or 1 for dim in model.graph.input[0].type.tensor_type.shape.dim][1:]
        name = model.graph.input[0].name
        rows = random.normal(size=(100, *shape)).astype(np.float32)
        calibration, held_out = {name: rows[:40]}, {name: rows[40:], "labels": np.zeros(60, np.int64)}
        np.savez(tmp_path / "calibration.npz", **calibration)  # type: ignore[arg-type]
        np.savez(tmp_path / "heldout.npz", **held_out)  # type: ignore[arg-type]
        table = {
            "source": tmp_path / "m.onnx",
            "calibration": {"samples": tmp_path / "calibration.npz"},
            "quality": {"samples": tmp_path / "heldout.npz", "metric": "cosine", "max_drop": 0.05},
            **changes,
        }
        return Config.model_validate({"service": "s", "artifacts": tmp_path / "artifacts", "models": {"m": table}})

    return make


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the fresh processes where figures do not matter."""
    monkeypatch.setattr(pipeline, "measure", lambda *_: FIGURES)


def _with(monkeypatch: pytest.MonkeyPatch, *recipes: Recipe) -> None:
    monkeypatch.setitem(PRESETS, "x86_64", lambda: recipes)


class _Spoil:
    """A step that turns the model into something else."""

    def __init__(self, change: Callable[[onnx.ModelProto], onnx.ModelProto]) -> None:
        self.change = change

    def apply(self, model: onnx.ModelProto, _context: Context) -> onnx.ModelProto:
        return self.change(model)


def _raise(error: BaseException) -> Callable[..., Any]:
    def failing(*_: Any, **__: Any) -> Any:
        raise error

    return failing


def test_the_artifact_is_complete_and_serves(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SECONDS", 0.01)
    config = make(classes=["a", "b", "c", "d"], version=3, version_labels=["stable"])

    outcome = compress(config, "m", _silent)

    manifest = read_manifest(config.artifact_folder("m"))
    assert manifest == outcome.manifest
    assert outcome.folder == config.artifact_folder("m")
    verify_files(outcome.folder, manifest)
    assert (manifest.name, manifest.version, manifest.version_labels) == ("m", "3", ("stable",))
    assert manifest.outputs == (builders.spec("probabilities", "FP32", (-1, 4), ["a", "b", "c", "d"]),)
    assert manifest.source.sha256 == file_sha256(config.models["m"].source)
    assert manifest.size_bytes < manifest.source.size_bytes
    assert [item.batch_size for item in manifest.measurements.latency] == [1, 8, 32]
    assert [item.batch_size for item in manifest.source.latency] == [1, 8, 32]
    assert manifest.opset == onnx.load(outcome.folder / "model.onnx").opset_import[0].version
    session = Session(outcome.folder, manifest, threads=1, verify=True)
    assert session.run({"x": np.ones((2, 16), np.float32)}, ["probabilities"])["probabilities"].shape == (2, 4)


@pytest.mark.usefixtures("unmeasured")
def test_the_same_input_gives_the_same_bytes(make: Make) -> None:
    config = make(builders.convolution())

    first = compress(config, "m", _silent)
    shutil.rmtree(first.folder)
    second = compress(config, "m", _silent)

    assert first.manifest == second.manifest
    assert first.manifest.recipe.startswith("int8")


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("name", [recipe.name for recipe in PRESETS["x86_64"]()])
@pytest.mark.parametrize("architecture", sorted(PRESETS))
def test_every_recipe_gives_an_artifact_when_it_is_named(make: Make, architecture: str, name: str) -> None:
    config = make(builders.convolution(), architecture=architecture, recipe=name)

    outcome = compress(config, "m", _silent)

    assert (outcome.manifest.recipe, outcome.manifest.architecture) == (name, architecture)
    assert [item.recipe for item in outcome.candidates] == [name]


@pytest.mark.usefixtures("unmeasured")
def test_a_recipe_given_at_the_call_overrides_the_configured_one(make: Make) -> None:
    outcome = compress(make(recipe="int8-dynamic"), "m", _silent, "fp32")

    assert outcome.kept_fp32


@pytest.mark.usefixtures("unmeasured")
def test_fp32_keeps_the_very_bytes(make: Make) -> None:
    config = make(recipe="fp32")

    outcome = compress(config, "m", _silent)

    assert (outcome.folder / "model.onnx").read_bytes() == config.models["m"].source.read_bytes()


@pytest.mark.usefixtures("unmeasured")
def test_fp32_wins_where_quantizing_saves_nothing(make: Make) -> None:
    outcome = compress(make(builders.mlp(4, 2, 2)), "m", _silent)

    assert outcome.kept_fp32
    assert all(item.reason for item in outcome.candidates if item.recipe != "fp32")


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

    crash = Recipe("crash", (_Spoil(_raise(RuntimeError("out of\nluck"))),))
    _with(monkeypatch, crash, Recipe("rename", (_Spoil(renamed),)), Recipe("break", (_Spoil(broken),)), FP32)

    outcome = compress(make(), "m", _silent)

    reasons = {item.recipe: item.reason for item in outcome.candidates}
    assert outcome.kept_fp32
    assert reasons["crash"] == "RuntimeError: out of luck"
    assert reasons["rename"] == "it changes the model's inputs or outputs"
    assert "cannot load the model" in reasons["break"]


@pytest.mark.usefixtures("unmeasured")
def test_static_recipes_say_what_they_miss_without_calibration(make: Make) -> None:
    outcome = compress(make(calibration=None), "m", _silent)

    reasons = {item.recipe: item.reason for item in outcome.candidates}
    assert outcome.manifest.recipe == "int8-dynamic"
    assert reasons["int8-static"] == "it needs calibration samples; set models.m.calibration.samples"


@pytest.mark.usefixtures("unmeasured")
def test_progress_names_every_candidate_and_ends_complete(make: Make) -> None:
    heard: list[tuple[str, int, int]] = []

    compress(make(), "m", lambda *parts: heard.append(parts))

    doing = [item[0] for item in heard]
    assert {f"trying {recipe.name}" for recipe in PRESETS["x86_64"]()} <= set(doing)
    assert [done for _, done, _ in heard] == sorted(done for _, done, _ in heard)
    assert heard[-1][1] == heard[-1][2]


@pytest.mark.usefixtures("unmeasured")
def test_weights_beside_the_source_end_up_in_one_file(make: Make, tmp_path: Path) -> None:
    config = make(recipe="fp32")
    onnx.save(builders.mlp(), tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)

    outcome = compress(config, "m", _silent)

    assert sorted(path.name for path in outcome.folder.iterdir()) == ["manifest.json", "model.onnx"]
    onnx.checker.check_model(onnx.load(outcome.folder / "model.onnx", load_external_data=False))


@pytest.mark.usefixtures("unmeasured")
def test_class_names_come_from_a_file_too(make: Make, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("eins\nzwei\n\ndrei\n  vier \n", "utf-8")

    outcome = compress(make(classes=tmp_path / "names.txt"), "m", _silent)

    assert outcome.manifest.outputs[0].labels == ("eins", "zwei", "drei", "vier")


@pytest.mark.usefixtures("unmeasured")
def test_a_model_with_a_fixed_batch_has_no_batching(make: Make) -> None:
    model = builders.mlp(16, 64, 4)
    for declared in (*model.graph.input, *model.graph.output):
        declared.type.tensor_type.shape.dim[0].dim_value = 5

    outcome = compress(make(model), "m", _silent)

    assert outcome.manifest.max_batch_size == 0
    assert outcome.manifest.inputs[0].shape == (5, 16)


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
        compress(config, "m", _silent)

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
        compress(make(**changes), "m", _silent)

    assert not (tmp_path / "artifacts").exists()


def test_an_unknown_model_names_the_configured_ones(make: Make) -> None:
    with pytest.raises(ConfigInvalid, match=r"models\.n: there is no such model; configured: m"):
        compress(make(), "n", _silent)


def test_samples_that_calibrate_and_judge_are_refused(make: Make, tmp_path: Path) -> None:
    config = make()
    shutil.copy(tmp_path / "heldout.npz", tmp_path / "calibration.npz")

    with pytest.raises(SamplesInvalid, match="60 of 60 held-out samples are also in"):
        compress(config, "m", _silent)


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
    outcome = compress(config, "m", _silent)
    before = _tree(outcome)
    monkeypatch.setattr(pipeline, stage, _raise(error))

    with pytest.raises(type(error)):
        compress(config, "m", _silent)

    assert _tree(outcome) == before
    assert [path.name for path in outcome.folder.parent.iterdir()] == ["1"]
    assert list(scratch.iterdir()) == []


@pytest.mark.usefixtures("unmeasured")
def test_an_interruption_inside_a_step_is_not_taken_for_a_crash(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with(monkeypatch, Recipe("slow", (_Spoil(_raise(KeyboardInterrupt())),)), FP32)

    with pytest.raises(KeyboardInterrupt):
        compress(make(), "m", _silent)

    assert not (tmp_path / "artifacts").exists()


def test_outcomes_say_whether_fp32_was_kept() -> None:
    manifest = builders.manifest(recipe="fp32")
    outcome = Outcome(Path("x"), manifest, FIGURES, ())

    assert outcome.kept_fp32
    assert not replace(outcome, manifest=replace(manifest, recipe="int8-static")).kept_fp32


def _tree(outcome: Outcome) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in outcome.folder.iterdir()}
