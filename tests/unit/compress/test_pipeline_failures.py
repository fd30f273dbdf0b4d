"""``compress`` where something fails: it says what, writes nothing, and leaves what was there."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from onnxlift.compress import pipeline
from onnxlift.compress.model import batch_evidence
from onnxlift.compress.pipeline import Outcome, compress
from onnxlift.compress.recipes.presets import recipe
from onnxlift.compress.recipes.recipe import FP32, Recipe
from onnxlift.compress.search import judging, preparation, run, timing, trial_pool
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
from tests.support.compress.bench import (
    Break,
    Die,
    Fail,
    Hang,
    Make,
    Rename,
    offer,
    raising,
    silent,
)
from tests.support.errors import raises

pytestmark = pytest.mark.usefixtures("shared_trials")


@pytest.mark.usefixtures("unmeasured")
def test_a_candidate_that_crashes_is_a_row_with_its_reason(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = Recipe("crash", (Fail("out of\nluck"),))
    killed, stopped = Recipe("killed", (Die(9),)), Recipe("stopped", (Die(15),))
    offer(
        monkeypatch,
        crash,
        Recipe("rename", (Rename(),)),
        Recipe("break", (Break(),)),
        killed,
        stopped,
        FP32,
    )

    outcome = compress(make(), "m", silent)

    reasons = {item.recipe: item.reason for item in outcome.candidates}
    assert outcome.kept_fp32
    assert reasons["crash"].startswith("a library failed on this graph; ")
    log = Path(reasons["crash"].partition("; ")[2].removesuffix(" has the error"))
    assert "RuntimeError: out of\nluck" in log.read_text()
    assert reasons["rename"] == "it changes the model's inputs or outputs"
    assert reasons["break"].startswith("a library failed on this graph; ")
    assert reasons["killed"] == "its process was killed (signal 9); was memory short?"
    assert reasons["stopped"] == "its process died of signal 15"


@pytest.mark.usefixtures("unmeasured")
def test_a_candidate_that_hangs_is_given_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make()
    offer(monkeypatch, FP32)
    compress(config, "m", silent)  # so that the short time is the hanging candidate's alone
    monkeypatch.setattr(trial_pool, "TIMEOUT_S", 3)
    offer(monkeypatch, Recipe("hang", (Hang(),)), FP32)

    outcome = compress(config, "m", silent)

    assert outcome.kept_fp32
    assert {item.recipe: item.reason for item in outcome.candidates}[
        "hang"
    ] == "no result after 3 s"


@pytest.mark.usefixtures("unmeasured")
def test_what_the_budget_does_not_reach_is_a_row_that_says_so(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, Recipe("hang", (Hang(),)), Recipe("crash", (Fail(),)), FP32)

    outcome = compress(make(), "m", silent, budget_s=2)

    assert outcome.kept_fp32
    rows = {item.recipe: (item.status, item.reason) for item in outcome.candidates}
    assert rows["hang"] == ("skipped", "not tried: the search's time was over")
    late = sum(reason.endswith("time was over") for _, reason in rows.values())
    assert outcome.report.notes[-1].startswith(
        f"the search's time was over before {late} of 3 recipes were judged"
    )


def _gate_fails(make: Make) -> Config:
    return make(recipe="int8-dynamic", quality={**_quality(make), "max_drop": 0.0})


def _quality(make: Make) -> dict[str, Any]:
    return make().models["m"].quality.model_dump()


@pytest.mark.usefixtures("unmeasured")
def test_the_gate_fails_loudly_and_writes_nothing(make: Make, tmp_path: Path) -> None:
    config = _gate_fails(make)

    with raises(QualityGateFailed, "int8-dynamic", "cosine") as caught:
        compress(config, "m", silent)

    assert re.search(r"\b0\.99\d+", str(caught.value))

    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize(
    ("changes", "error", "data"),
    [
        ({"source": Path("/nowhere.onnx")}, ModelRefused, ("/nowhere.onnx",)),
        ({"classes": ["a"]}, ConfigInvalid, ("models.m.classes", 1)),
        (
            {"classes": Path("/nowhere.txt")},
            ConfigInvalid,
            ("models.m.classes", "/nowhere.txt"),
        ),
        ({"calibration": {"samples": Path("/nowhere.npz")}}, SamplesInvalid, ("/nowhere.npz",)),
        (
            {"calibration": None, "recipe": "int8-static"},
            RecipeInvalid,
            ("'int8-static'", "models.m.calibration.samples"),
        ),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(
    make: Make,
    tmp_path: Path,
    changes: dict[str, Any],
    error: type[OnnxliftError],
    data: tuple[object, ...],
) -> None:
    with raises(error, *data):
        compress(make(**changes), "m", silent)

    assert not (tmp_path / "artifacts").exists()


def test_an_unknown_model_names_the_configured_ones(make: Make) -> None:
    with raises(ConfigInvalid, "models.n", "m"):
        compress(make(), "n", silent)


def test_samples_that_calibrate_and_judge_are_refused(make: Make, tmp_path: Path) -> None:
    config = make()
    shutil.copy(tmp_path / "heldout.npz", tmp_path / "calibration.npz")

    with raises(SamplesInvalid, "60 of 60"):
        compress(config, "m", silent)


STAGES = [
    (preparation, "read_source"),
    (batch_evidence, "open_session"),
    (preparation, "find_batch"),
    (judging, "load_samples"),
    (run, "run_trials"),
    (run, "cross"),
    (timing, "measure"),
    (pipeline, "choose"),
    (pipeline, "write_artifact"),
]


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), ArtifactError("disk full"), MemoryError()], ids=repr
)
@pytest.mark.parametrize(
    ("module", "stage"), STAGES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_failure_at_any_stage_leaves_the_older_artifact_and_no_scratch(
    make: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: Callable[..., None],
    module: ModuleType,
    stage: str,
    error: BaseException,
) -> None:
    elsewhere(lambda _model: None)  # or the stage `cross` depends on this machine
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    offer(monkeypatch, recipe("int8-dynamic", "x86_64"), FP32)
    config = make()
    outcome = compress(config, "m", silent)
    before = _tree(outcome)
    shutil.rmtree(config.cache)
    monkeypatch.setattr(module, stage, raising(error))

    with pytest.raises(type(error)):
        compress(config, "m", silent)

    assert _tree(outcome) == before
    assert [path.name for path in outcome.folder.parent.iterdir()] == ["1"]
    assert list(scratch.iterdir()) == []


def _tree(outcome: Outcome) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in outcome.folder.iterdir()}
