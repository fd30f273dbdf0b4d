"""Models that are placed on a GPU for certain: its recipes, judged on this machine's CPU, and the
manifest says so.
"""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from onnxlift.compress.pipeline import compress
from onnxlift.placement import place
from onnxlift_runtime.dataplane.session import Session
from onnxlift_runtime.errors import RecipeInvalid
from onnxlift_runtime.manifest import verify_files
from tests.support import builders
from tests.support.compress.bench import Make, silent
from tests.support.errors import raises

pytestmark = pytest.mark.usefixtures("shared_trials")

ON_GPU = {"tier": "gpu"}


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("optimize_for", ["latency", "cost"])
def test_a_model_for_a_gpu_is_halved_and_serves(make: Make, optimize_for: str) -> None:
    config = make(
        builders.mlp(16, 256, 4), placement=ON_GPU, optimize_for=optimize_for, architecture="arm64"
    )

    outcome = compress(config, "m", silent)

    manifest = outcome.manifest
    graph = onnx.load(outcome.folder / "model.onnx")
    kinds = {tensor.data_type for tensor in graph.graph.initializer if len(tensor.dims) > 1}
    verify_files(outcome.folder, manifest)
    assert (manifest.recipe, manifest.architecture, kinds) == (
        "float16",
        "arm64",
        {TensorProto.FLOAT16},
    )
    assert manifest.optimize_at_load
    assert place(manifest, config.models["m"].placement).tier == "gpu"
    session = Session(outcome.folder, manifest, threads=1, verify=True)
    feed = {"x": np.zeros((3, 16), np.float32)}
    assert session.run(feed, ["probabilities"])["probabilities"].shape == (3, 4)


@pytest.mark.usefixtures("unmeasured")
def test_recipes_of_the_gpu_are_judged_on_this_cpu_and_nowhere_else(make: Make) -> None:
    outcome = compress(make(builders.mlp(64, 256, 4), placement=ON_GPU), "m", silent)

    rows = {row.recipe: row for row in outcome.candidates}
    assert list(rows) == [
        *("float16", "blocks8", "blocks4-mix9", "blocks4"),
        *("int8-weights", "fp32"),
    ]
    assert all(row.figures or row.status == "skipped" for row in rows.values())
    assert all(not row.agreement and row.cost_usd_per_1000 is None for row in rows.values())
    assert outcome.manifest.verified_on == {}
    assert outcome.manifest.not_verified_on == {"gpu": "the quality gate ran on this machine's CPU"}
    assert "not verified on gpu: the quality gate ran on this machine's CPU" in outcome.report.notes


@pytest.mark.usefixtures("unmeasured")
def test_instruction_sets_that_are_asked_for_are_still_looked_at(make: Make) -> None:
    sets = ("x86_64-avx2",)

    outcome = compress(make(placement=ON_GPU, instruction_sets=sets, recipe="float16"), "m", silent)

    assert {*outcome.manifest.verified_on, *outcome.manifest.not_verified_on} == {
        "x86_64-avx2",
        "gpu",
    }


@pytest.mark.parametrize(
    ("tier", "name", "preset"), [("gpu", "int8-smooth", "gpu"), ("auto", "float16", "x86_64")]
)
def test_a_recipe_of_another_tier_names_the_legal_ones(
    make: Make, tier: str, name: str, preset: str
) -> None:
    with raises(RecipeInvalid, f"'{name}'", preset, "auto"):
        compress(make(placement={"tier": tier}, recipe=name), "m", silent)
