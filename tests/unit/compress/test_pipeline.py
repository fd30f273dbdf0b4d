"""``compress`` from end to end on tiny models: what the artifact is, and which recipe it has."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxlift.compress import pipeline
from onnxlift.compress.measure import measurement as measuring
from onnxlift.compress.pipeline import compare, compress
from onnxlift.compress.recipes.presets import recipes
from onnxlift.compress.recipes.traits import read_traits
from onnxlift.compress.results import Report
from onnxlift.compress.search import timing
from onnxlift.compress.search.preparation import MODEL_FILE
from onnxlift.compress.search.run import Progress
from onnxlift_runtime.dataplane.session import Session
from onnxlift_runtime.manifest import file_sha256, read_manifest, verify_files
from tests.support import builders
from tests.support.compress.bench import Make, silent
from tests.support.compress.closeness import cosine, run
from tests.support.compress.operators import branches

pytestmark = pytest.mark.usefixtures("shared_trials")


def test_the_artifact_is_complete_and_serves(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SECONDS", 0.01)
    config = make(classes=["a", "b", "c", "d"], version=3, version_labels=["stable"])

    outcome = compress(config, "m", silent)

    manifest = read_manifest(config.artifact_folder("m"))
    assert manifest == outcome.manifest
    assert outcome.folder == config.artifact_folder("m")
    verify_files(outcome.folder, manifest)
    assert (manifest.name, manifest.version, manifest.version_labels) == ("m", "3", ("stable",))
    assert manifest.outputs == (
        builders.spec("probabilities", "FP32", (-1, 4), ["a", "b", "c", "d"]),
    )
    assert manifest.source.sha256 == file_sha256(config.models["m"].source)
    assert manifest.size_bytes < manifest.source.size_bytes
    assert [item.batch_size for item in manifest.measurements.latency] == [1, 8, 32]
    assert [item.batch_size for item in manifest.source.latency] == [1, 8, 32]
    assert manifest.opset == onnx.load(outcome.folder / "model.onnx").opset_import[0].version
    session = Session(outcome.folder, manifest, threads=1, verify=True)
    assert session.run({"x": np.ones((2, 16), np.float32)}, ["probabilities"])[
        "probabilities"
    ].shape == (2, 4)


@pytest.mark.usefixtures("unmeasured")
def test_the_same_input_gives_the_same_bytes(make: Make) -> None:
    config = make(builders.convolution())

    first = compress(config, "m", silent)
    shutil.rmtree(first.folder)
    second = compress(config, "m", silent)

    assert first.manifest == second.manifest
    assert second.candidates[0].cached
    assert "int8" in first.manifest.recipe


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    "name", [recipe.name for recipe in recipes("x86_64", read_traits(builders.convolution()))]
)
@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_every_recipe_gives_an_artifact_when_it_is_named(
    make: Make, architecture: str, name: str
) -> None:
    config = make(builders.convolution(), architecture=architecture, recipe=name)

    outcome = compress(config, "m", silent)

    assert (outcome.manifest.recipe, outcome.manifest.architecture) == (name, architecture)
    assert [item.recipe for item in outcome.candidates] == [name]


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("limit", "p50_ms", "kept"), [(None, 0.97, True), (None, 0.9, False), (1.2, 1.3, True)]
)
def test_the_smallest_is_timed_in_turns_with_fp32_and_loses_where_it_is_too_slow(
    make: Make, monkeypatch: pytest.MonkeyPatch, limit: float | None, p50_ms: float, kept: bool
) -> None:
    monkeypatch.setattr(timing, "race", lambda *_: (1.0, p50_ms))

    outcome = compress(make(builders.convolution(), max_slowdown=limit), "m", silent)

    assert outcome.kept_fp32 == kept
    chosen = outcome.report.chosen
    assert chosen
    assert chosen.slowdown == (None if kept else p50_ms)


@pytest.mark.usefixtures("unmeasured")
def test_times_of_another_architecture_decide_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "race", lambda *_: (1.0, 9.0))
    monkeypatch.setattr(pipeline, "architecture", lambda: "riscv64")

    outcome = compress(make(builders.convolution(), max_slowdown=None), "m", silent)

    assert not outcome.kept_fp32


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("target", [{}, {"placement": {"tier": "gpu"}}])
def test_weights_in_branches_are_stored_and_served(make: Make, target: dict[str, Any]) -> None:
    config = make(branches(), calibration=None, recipe="int8-weights", **target)

    outcome = compress(config, "m", silent)

    session = Session(outcome.folder, outcome.manifest, threads=1, verify=True)
    feed = {"x": np.ones((2, 32), np.float32)}
    expected = run(branches(), feed)
    assert outcome.manifest.size_bytes < 0.5 * outcome.manifest.source.size_bytes
    assert cosine(session.run(feed, ["y"])["y"], expected) > 0.9998


@pytest.mark.usefixtures("unmeasured")
def test_a_recipe_given_at_the_call_overrides_the_configured_one(make: Make) -> None:
    outcome = compress(make(recipe="int8-dynamic"), "m", silent, "fp32")

    assert outcome.kept_fp32


@pytest.mark.usefixtures("unmeasured")
def test_fp32_keeps_the_very_bytes(make: Make) -> None:
    config = make(recipe="fp32")

    outcome = compress(config, "m", silent)

    assert (outcome.folder / "model.onnx").read_bytes() == config.models["m"].source.read_bytes()


@pytest.mark.usefixtures("unmeasured")
def test_fp32_wins_where_quantizing_saves_nothing(make: Make) -> None:
    outcome = compress(make(builders.mlp(4, 2, 2)), "m", silent)

    assert outcome.kept_fp32
    assert all(item.reason for item in outcome.candidates)
    assert (
        "the model ships as fp32: no recipe made it better; below 1 MB there is little to gain"
        in outcome.report.notes
    )


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    "model", [builders.mlp(16, 64, 4), builders.convolution()], ids=["mlp", "convolution"]
)
def test_recipes_say_what_they_miss_without_calibration(make: Make, model: onnx.ModelProto) -> None:
    outcome = compress(make(model, calibration=None), "m", silent)

    blind = {item.name for item in recipes("x86_64", read_traits(model)) if item.needs_samples}
    rows = {item.recipe: (item.status, item.reason) for item in outcome.candidates}
    reason = (
        "not tried: it needs calibration samples; name a file of them in "
        "models.m.calibration.samples"
    )
    assert outcome.manifest.recipe not in blind
    assert {name for name, row in rows.items() if row == ("skipped", reason)} == blind
    assert len(blind) > 3


@pytest.mark.usefixtures("unmeasured")
def test_recipes_that_spare_nodes_say_where_a_model_has_too_few(make: Make) -> None:
    outcome = compress(make(builders.mlp(16, 64, 4)), "m", silent)

    rows = {item.recipe: (item.status, item.reason) for item in outcome.candidates}
    reason = (
        "not tried: it spares the 9 most sensitive nodes, and no more than that could be ranked"
    )
    assert rows["blocks4-mix9"] == ("skipped", reason)


@pytest.mark.usefixtures("unmeasured")
def test_progress_names_every_candidate_and_ends_complete(make: Make) -> None:
    on_progress: list[Progress] = []

    outcome = compress(make(), "m", on_progress.append)

    tried = {row.recipe for row in outcome.candidates if row.status != "skipped"}
    assert {f"made {name}" for name in tried} <= {state.doing for state in on_progress}
    assert all(0 <= state.done <= state.total for state in on_progress)
    assert on_progress[-1].best == outcome.manifest.recipe
    assert on_progress[-1].done == on_progress[-1].total


@pytest.mark.usefixtures("unmeasured")
def test_weights_beside_the_source_end_up_in_one_file(make: Make, tmp_path: Path) -> None:
    config = make(recipe="fp32")
    onnx.save(
        builders.mlp(),
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="m.bin",
        size_threshold=0,
    )

    outcome = compress(config, "m", silent)

    assert sorted(path.name for path in outcome.folder.iterdir()) == [
        "manifest.json",
        "model.onnx",
        "report.html",
        "report.json",
    ]
    onnx.checker.check_model(onnx.load(outcome.folder / "model.onnx", load_external_data=False))


@pytest.mark.usefixtures("unmeasured")
def test_class_names_come_from_a_file_too(make: Make, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("eins\nzwei\n\ndrei\n  vier \n", "utf-8")

    outcome = compress(make(classes=tmp_path / "names.txt", recipe="fp32"), "m", silent)

    assert outcome.manifest.outputs[0].labels == ("eins", "zwei", "drei", "vier")


@pytest.mark.usefixtures("unmeasured")
def test_a_model_with_a_fixed_batch_has_no_batching(make: Make) -> None:
    model = builders.mlp(16, 64, 4)
    for declared in (*model.graph.input, *model.graph.output):
        declared.type.tensor_type.shape.dim[0].dim_value = 5

    outcome = compress(make(model, recipe="int8-dynamic"), "m", silent)

    assert outcome.manifest.max_batch_size == 0
    assert outcome.manifest.inputs[0].shape == (5, 16)


@pytest.mark.usefixtures("unmeasured")
def test_the_report_lies_beside_the_manifest_and_is_none_of_its_files(make: Make) -> None:
    outcome = compress(make(), "m", silent)

    report = Report.from_json((outcome.folder / "report.json").read_bytes())
    assert report == outcome.report
    assert report.chosen is not None
    assert report.chosen.recipe == outcome.manifest.recipe
    assert {entry.path for entry in outcome.manifest.files} == {MODEL_FILE}


@pytest.mark.usefixtures("unmeasured")
def test_every_target_is_verified_or_said_not_to_be(make: Make) -> None:
    outcome = compress(make(), "m", silent)

    manifest = outcome.manifest
    assert {*manifest.verified_on, *manifest.not_verified_on} == {
        "x86_64-avx2",
        "x86_64-avx512-vnni",
    }
    assert all(agreed > 0.999 for agreed in manifest.verified_on.values())
    assert manifest.quality.confidence == 0.95


@pytest.mark.usefixtures("unmeasured")
def test_two_recipes_are_compared_and_nothing_is_written(make: Make) -> None:
    config = make(builders.convolution())

    found = compare(config, "m", ["int8-static", "fp32"], silent)

    assert [(row.recipe, row.reason) for row in found.rows] == [
        ("int8-static", "it passes"),
        ("fp32", "it passes"),
    ]
    assert found.rows[0].size_bytes < found.rows[1].size_bytes
    assert not config.artifacts.exists()
