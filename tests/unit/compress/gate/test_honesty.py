"""Bad candidates, planted: none of them may pass the gate, whatever its limit forgives
elsewhere.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxlift.compress import pipeline
from onnxlift.compress.cpu.instructions import InstructionSet, available, native
from onnxlift.compress.model import artifact
from onnxlift.compress.pipeline import compress
from onnxlift.compress.recipes.recipe import FP32, Recipe
from onnxlift.compress.results import CandidateRow
from onnxlift.compress.steps import Context, Step
from onnxlift.compress.steps.embeddings import Embeddings
from onnxlift.compress.steps.int8_static import Int8Static
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from onnxlift.compress.steps.weight_blocks import WeightBlocks
from onnxlift.config import Config
from onnxlift_runtime.errors import ArtifactCorrupt, ConfigInvalid, SamplesInvalid
from onnxlift_runtime.manifest import read_manifest
from tests.support import builders
from tests.support.compress.bench import Make, offer, silent
from tests.support.compress.transformer import samples, transformer
from tests.support.errors import raises


@dataclass(frozen=True)
class Foreign(Step):
    """Static int8 whose ranges come from samples of another model: a hundredth as large."""

    def apply(self, model: onnx.ModelProto, context: Context) -> onnx.ModelProto:
        small = {name: array / np.float32(100) for name, array in context.samples.items()}
        return Int8Static().apply(model, Context(small, context.architecture))


@pytest.fixture
def text(tmp_path: Path) -> Config:
    """A transformer with samples that calibrate and others that judge, as ``m``."""
    (tmp_path / "m.onnx").write_bytes(transformer().SerializeToString())
    np.savez(tmp_path / "calibration.npz", **samples(24, seed=1))  # type: ignore[arg-type]
    np.savez(tmp_path / "heldout.npz", **samples(48, seed=2))  # type: ignore[arg-type]
    table = {
        "source": tmp_path / "m.onnx",
        "max_slowdown": 100,
        "calibration": {"samples": tmp_path / "calibration.npz"},
        "quality": {"samples": tmp_path / "heldout.npz", "metric": "cosine", "max_drop": 0.01},
    }
    folders = {"artifacts": tmp_path / "artifacts", "cache": tmp_path / "cache"}
    return Config.model_validate({"service": "s", **folders, "models": {"m": table}})


def _outcome(config: Config, monkeypatch: pytest.MonkeyPatch, *steps: Step) -> CandidateRow:
    offer(monkeypatch, Recipe("planted", steps, isa_safe=False), FP32)
    outcome = compress(config, "m", silent)
    assert outcome.kept_fp32
    return next(row for row in outcome.candidates if row.recipe == "planted")


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((Int8Static(),), id="static over every operator"),
        pytest.param((WeightBlocks(2, block=32, method="nearest"), Embeddings(2)), id="2 bits"),
    ],
)
def test_a_recipe_that_loses_too_much_does_not_pass(
    text: Config, monkeypatch: pytest.MonkeyPatch, steps: tuple[Step, ...]
) -> None:
    row = _outcome(text, monkeypatch, *steps)

    assert row.status == "lost"
    assert row.reason.startswith("cosine falls from 1 to ")


@pytest.mark.usefixtures("unmeasured")
def test_calibration_of_another_model_does_not_pass(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = {**make().models["m"].quality.model_dump(), "max_drop": 0.005}

    row = _outcome(make(builders.convolution(), quality=strict), monkeypatch, Foreign())

    assert row.reason.startswith("cosine falls from 1 to ")


def _detector() -> onnx.ModelProto:
    """Boxes up to 640 and scores up to 1 from two heads, joined to one output."""
    random = np.random.default_rng(3)
    weights = {
        "to_boxes": random.normal(size=(16, 4)).astype(np.float32),
        "pixels": np.array(640, np.float32),
        "to_scores": random.normal(size=(16, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "to_boxes"], ["raw_boxes"]),
        helper.make_node("Sigmoid", ["raw_boxes"], ["places"]),
        helper.make_node("Mul", ["places", "pixels"], ["boxes"]),
        helper.make_node("MatMul", ["x", "to_scores"], ["raw_scores"]),
        helper.make_node("Sigmoid", ["raw_scores"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["y"], axis=1),
    ]
    ends = [builders.value("x", "FP32", (-1, 16))], [builders.value("y", "FP32", (-1, 7))]
    return builders.build(nodes, *ends, weights)


@pytest.mark.usefixtures("unmeasured")
def test_a_detector_whose_scores_all_became_zero_does_not_pass(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = _outcome(make(_detector()), monkeypatch, Int8Static())

    assert min(figure.measured for figure in row.figures) > 0.95, "the metric sees nothing"
    assert row.reason.startswith("output 'y' is broken: channel ")


def _two_outputs() -> onnx.ModelProto:
    """Its first output is the input, which no recipe changes."""
    model = builders.mlp(16, 64, 4)
    model.graph.node.append(helper.make_node("Identity", ["x"], ["copy"]))
    model.graph.output.insert(0, builders.value("copy", "FP32", (-1, 16)))
    return model


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(("output", "measured"), [(None, 1.0), ("probabilities", 0.99)])
def test_the_configured_output_is_judged(make: Make, output: str | None, measured: float) -> None:
    quality = {**make().models["m"].quality.model_dump(), "output": output}

    row = compress(make(_two_outputs(), quality=quality, recipe="int8-dynamic"), "m", silent)

    found = min(figure.measured for figure in row.candidates[0].figures)
    assert (found == 1.0) == (measured == 1.0)
    assert found >= measured


def test_an_output_that_is_not_there_is_refused(make: Make) -> None:
    quality = {**make().models["m"].quality.model_dump(), "output": "scores"}

    with raises(ConfigInvalid, "'scores'", "'probabilities'"):
        compress(make(quality=quality), "m", silent)


def _saturating() -> onnx.ModelProto:
    """Positive activations times weights that are all large: pairs of products leave 16 bits."""
    model = builders.linear(64, 8, bias=False)
    signs = np.sign(np.random.default_rng(2).normal(size=(64, 8))).astype(np.float32)
    signs[1::2] = signs[0::2]
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(signs, "weight"))
    return model


@pytest.mark.usefixtures("unmeasured")
def test_products_that_saturate_on_avx2_do_not_pass(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    if native() is not InstructionSet.AVX2 and not available(InstructionSet.AVX2):
        pytest.skip(available(InstructionSet.AVX2).reason)
    # Where this CPU is AVX2 itself, the gate has nothing to compare with but the limit.
    max_drop = 0.05 if native() is InstructionSet.AVX2 else 1.0
    quality = {**make().models["m"].quality.model_dump(), "max_drop": max_drop}
    config = make(_saturating(), quality=quality)

    row = _outcome(config, monkeypatch, MatMulInt8("nearest", "ignore"))

    assert row.status == "lost"
    assert ("x86_64-avx2" in row.reason) or native() is InstructionSet.AVX2


@pytest.mark.usefixtures("unmeasured")
def test_what_may_saturate_is_not_chosen_where_nobody_can_look(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "onnxlift.compress.search.preparation.find_targets",
        lambda *_: ((), {"x86_64-avx2": "no qemu"}),
    )

    row = _outcome(make(), monkeypatch, MatMulInt8("nearest", "ignore"))

    assert row.reason == "it may saturate on x86_64-avx2, which cannot be looked at here"


@pytest.mark.usefixtures("unmeasured")
def test_weights_that_change_after_they_were_judged_are_not_written(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make(recipe="int8-dynamic")
    write = artifact.write_artifact

    def spoil(target: Path, files: Path, *rest: object) -> None:
        content = bytearray((files / "model.onnx").read_bytes())
        content[len(content) // 2] ^= 1
        (files / "model.onnx").write_bytes(content)
        write(target, files, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "write_artifact", spoil)

    with pytest.raises(ArtifactCorrupt):
        compress(config, "m", silent)
    assert not list(config.artifacts.glob("**/manifest.json"))


@pytest.mark.usefixtures("unmeasured")
def test_weights_that_change_between_two_runs_are_made_anew(make: Make) -> None:
    config = make(recipe="int8-dynamic")
    first = compress(config, "m", silent)
    for path in config.cache.glob("**/int8-dynamic-*/files/model.onnx"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")

    second = compress(config, "m", silent)

    assert not second.candidates[0].cached
    assert read_manifest(second.folder).files == first.manifest.files


def test_samples_that_calibrate_cannot_judge(text: Config) -> None:
    model = text.models["m"]
    assert model.calibration is not None
    assert model.quality.samples is not None
    shutil.copy(model.calibration.samples, model.quality.samples)

    with raises(SamplesInvalid, "24 of 24"):
        compress(text, "m", silent)
