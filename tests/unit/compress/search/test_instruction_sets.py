"""Other instruction sets: what cannot be looked at there is said, and no recipe is blamed for
it.
"""

from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from onnxlift.compress.pipeline import compress
from onnxlift.compress.recipes.presets import recipe
from onnxlift.compress.recipes.recipe import FP32
from onnxlift.compress.search import run
from onnxlift.compress.search.outcome import Outcome
from onnxlift.compress.search.trial_pool import TrialSetup
from onnxlift_runtime.errors import InferenceFailed
from tests.support import builders
from tests.support.compress.bench import Make, offer, silent
from tests.support.errors import raises

pytestmark = pytest.mark.usefixtures("shared_trials")

RECIPES = ("int8-nearest", "int8-smooth-vnni", "blocks8-nearest")


def _compress(
    make: Make, monkeypatch: pytest.MonkeyPatch, budget_s: float | None = None
) -> Outcome:
    offer(monkeypatch, *(recipe(name, "x86_64") for name in RECIPES), FP32)
    monkeypatch.setattr(TrialSetup, "at_a_time", 1)
    sets = ["x86_64-avx2"]
    return compress(
        make(builders.mlp(64, 256, 4), instruction_sets=sets), "m", silent, budget_s=budget_s
    )


@pytest.mark.usefixtures("unmeasured")
def test_a_target_on_which_fp32_itself_fails_is_said_and_blames_no_recipe(
    make: Make, monkeypatch: pytest.MonkeyPatch, elsewhere: Callable[..., None]
) -> None:
    def fail(_: Path) -> None:
        raise InferenceFailed("x86_64-avx2 (masked): illegal instruction")

    elsewhere(fail)

    outcome = _compress(make, monkeypatch)

    reason = (
        "not available because the fp32 model fails there too: x86_64-avx2 (masked): illegal "
        "instruction"
    )
    reasons = {row.recipe: row.reason for row in outcome.candidates}
    assert outcome.manifest.not_verified_on == {"x86_64-avx2": reason}
    assert "x86_64-avx2" not in outcome.manifest.verified_on
    assert f"not verified on x86_64-avx2: {reason}" in outcome.report.notes
    assert outcome.manifest.recipe in ("int8-nearest", "blocks8-nearest")
    assert (
        reasons["int8-smooth-vnni"]
        == "it may saturate on x86_64-avx2, which cannot be looked at here"
    )


@pytest.mark.usefixtures("unmeasured")
def test_a_target_on_which_fp32_fails_later_ends_the_search(
    make: Make, monkeypatch: pytest.MonkeyPatch, elsewhere: Callable[..., None], tmp_path: Path
) -> None:
    seen: list[str] = []

    def fail(model: Path) -> None:
        seen.append(model.parent.parent.name)
        if seen.count(seen[0]) > 1:
            raise InferenceFailed("x86_64-avx2 (masked): killed")

    elsewhere(fail)

    with raises(InferenceFailed, "killed"):
        _compress(make, monkeypatch)

    assert seen[0].startswith("fp32-")
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.usefixtures("unmeasured")
def test_a_recipe_that_fails_on_a_target_is_a_row_with_the_reason(
    make: Make, monkeypatch: pytest.MonkeyPatch, elsewhere: Callable[..., None]
) -> None:
    def fail(model: Path) -> None:
        if "blocks8" in str(model):
            raise InferenceFailed("x86_64-avx2 (masked): illegal instruction")

    elsewhere(fail)

    outcome = _compress(make, monkeypatch)

    reasons = {row.recipe: row.reason for row in outcome.candidates}
    assert reasons["blocks8-nearest"] == "x86_64-avx2 (masked): illegal instruction"
    assert outcome.manifest.verified_on["x86_64-avx2"] == pytest.approx(1)


@pytest.mark.usefixtures("unmeasured")
def test_what_the_time_did_not_suffice_for_is_said_and_the_smallest_is_judged_anyway(
    make: Make, monkeypatch: pytest.MonkeyPatch, elsewhere: Callable[..., None]
) -> None:
    late: list[float] = []
    monkeypatch.setattr(run, "monotonic", lambda: monotonic() + sum(late))
    elsewhere(lambda model: late.append(0.0 if "fp32" in str(model) else 1e6))

    outcome = _compress(make, monkeypatch, budget_s=1e5)

    rows = {row.recipe: row for row in outcome.candidates}
    over = [
        row.recipe for row in rows.values() if row.reason.endswith("the search's time was over")
    ]
    assert rows[outcome.manifest.recipe].agreement
    assert over
    assert all(rows[name].reason.startswith("not verified on x86_64-avx2") for name in over)
    assert outcome.report.notes[-1] == (
        f"the search's time was over before {len(over)} of 4 recipes were judged; with more of it "
        f"(search_budget_s, "
        "--budget) a better one may be found, and the search goes on where it was"
    )
