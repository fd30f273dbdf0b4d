"""``compress``: from a configured model to its artifact, or to the reason why there is none."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final

from onnxlift.compress.model.artifact import write_artifact
from onnxlift.compress.recipes.prefixes import begin
from onnxlift.compress.recipes.presets import recipe, recipes
from onnxlift.compress.recipes.recipe import FP32, Recipe
from onnxlift.compress.recipes.traits import Traits, read_traits
from onnxlift.compress.report.report import report_files
from onnxlift.compress.results import CandidateRow, Limit, NodeSensitivity
from onnxlift.compress.search.choice import Goal, choose, usable
from onnxlift.compress.search.outcome import SMALL_BYTES, Outcome, manifest_of, report_of
from onnxlift.compress.search.prediction import Prediction, by_promise, predict, unpromising, worst
from onnxlift.compress.search.preparation import Prepared, prepare
from onnxlift.compress.search.run import OnProgress, Progress, Scoreboard, search
from onnxlift.compress.search.sensitivity import int8_step, rank
from onnxlift.compress.search.timing import measurements, slowdown
from onnxlift.compress.steps import Context
from onnxlift.compress.steps.clean import Clean
from onnxlift.config import Config, Model
from onnxlift.machine import architecture
from onnxlift_runtime.errors import ConfigInvalid, RecipeInvalid

__all__ = ["Comparison", "Outcome", "compare", "compress"]

AUTO: Final = "auto"
_SLOWER: Final = 1.5
_FASTER: Final = 0.95
_COSINES: Final = ("cosine",)
_NO_SAMPLES: Final = (
    "needs calibration samples; name a file of them in models.{}.calibration.samples"
)


@dataclass(frozen=True)
class Comparison:
    """Two recipes side by side, the limits they were held to, and the reason where one does not
    pass.
    """

    rows: tuple[CandidateRow, ...]
    limits: tuple[Limit, ...]


@dataclass(frozen=True)
class _Found:
    """A finished search."""

    prepared: Prepared
    scoreboard: Scoreboard
    rows: tuple[CandidateRow, ...]
    sensitivity: tuple[NodeSensitivity, ...]


def compress(
    config: Config,
    name: str,
    on_progress: OnProgress,
    recipe_name: str | None = None,
    budget_s: float | None = None,
) -> Outcome:
    """Search the recipes of one model, keep the best that passes the quality gate, and write its
    artifact.

    ``recipe_name`` and ``budget_s`` override the configuration's. Raises ``ConfigInvalid``,
    ``ModelRefused``, ``SamplesInvalid``, ``RecipeInvalid``, ``QualityGateFailed`` or
    ``ArtifactError``; then nothing was written.
    """
    started = monotonic()
    model = _configured(config, name)
    asked = recipe_name or model.recipe
    with _searched(config, name, [asked], on_progress, budget_s) as found:
        if asked != AUTO and found.rows[0].status == "failed":
            raise RecipeInvalid(
                f"recipe {asked!r} cannot be applied, nothing was written: {found.rows[0].reason}"
            )
        winner, explained = _chosen(model, found, on_progress)
        prepared, trial = found.prepared, found.scoreboard.trials[winner.recipe]
        setup, held_out = prepared.bench.setup, prepared.bench.held_out
        on_progress(Progress(f"writing {winner.recipe}", 1, 1, winner.recipe))
        before = measurements(setup, prepared.bench.fp32, held_out)
        after = measurements(setup, trial, held_out)
        manifest = manifest_of(prepared, trial, winner, before, after)
        report = report_of(
            prepared, trial, manifest, explained, found.sensitivity, monotonic() - started
        )
        target = config.artifact_folder(name)
        write_artifact(target, trial.model_folder, manifest, report_files(report))
    return Outcome(target, manifest, before, report)


def compare(
    config: Config,
    name: str,
    names: Sequence[str],
    on_progress: OnProgress,
    budget_s: float | None = None,
) -> Comparison:
    """Try recipes by their names and judge them, write nothing; raises what ``compress`` raises but
    for the gate's.
    """
    _configured(config, name)
    with _searched(config, name, names, on_progress, budget_s) as found:
        passed = (replace(row, reason="it passes") if usable(row) else row for row in found.rows)
        return Comparison(tuple(passed), found.prepared.bench.gate.limits)


def _chosen(
    model: Model, found: _Found, on_progress: OnProgress
) -> tuple[CandidateRow, tuple[CandidateRow, ...]]:
    """The winner and all rows explained; who wins by size has been timed against fp32 in turns."""
    bench, rows = found.prepared.bench, list(found.rows)
    limit = _max_slowdown(model, bench.setup.source_bytes)
    while True:
        winner, explained = choose(rows, _goal(model), limit)
        if limit is None or winner.recipe == FP32.name or winner.slowdown is not None:
            return winner, explained
        on_progress(Progress(f"timing {winner.recipe} against fp32", 0, 1, winner.recipe))
        index = next(index for index, row in enumerate(rows) if row.recipe == winner.recipe)
        trial = found.scoreboard.trials[winner.recipe]
        rows[index] = replace(
            rows[index], slowdown=slowdown(bench.setup, bench.fp32, trial, bench.held_out)
        )


def _max_slowdown(model: Model, source_bytes: int) -> float | None:
    """The limit where the smallest is kept; None where this machine's times say nothing."""
    if _goal(model) != "size" or model.preset != architecture():
        return None
    return model.max_slowdown or (_SLOWER if source_bytes >= SMALL_BYTES else _FASTER)


def _goal(model: Model) -> Goal:
    """What to choose by; a CPU's times say nothing about a GPU's, there the preset's order does."""
    return (
        "preference"
        if model.preset == "gpu" and model.optimize_for != "size"
        else model.optimize_for
    )


def _configured(config: Config, name: str) -> Model:
    if name not in config.models:
        raise ConfigInvalid(
            f"models.{name}: there is no such model; configured: {', '.join(sorted(config.models))}"
        )
    return config.models[name]


@contextlib.contextmanager
def _searched(
    config: Config, name: str, names: Sequence[str], on_progress: OnProgress, budget_s: float | None
) -> Iterator[_Found]:
    model, started = config.models[name], monotonic()
    budget = budget_s or model.search_budget_s
    deadline = started + budget
    for item in names:
        if item != AUTO and recipe(item, model.preset).needs_samples and model.calibration is None:
            raise RecipeInvalid(f"recipe {item!r} {_NO_SAMPLES.format(name)}")
    on_progress(Progress("reading the model and its samples", 0, 1, budget_s=budget))
    with prepare(config, name, deadline) as prepared:
        wanted = _wanted(prepared, names)
        nodes = _sensitivity(prepared, wanted, on_progress, budget) if _pays(wanted) else ()
        resolved = [item.resolved(worst(nodes, item.precision)) for item in wanted]
        predictions = _predictions(prepared, resolved, nodes)
        hopeless = unpromising(resolved, predictions, _allowed(model)) if AUTO in names else {}
        skipped = {**hopeless, **_impossible(resolved, name, model)}
        able = [item for item in resolved if item.name not in skipped]
        tried = by_promise(
            able, predictions, _allowed(model), smallest=model.optimize_for == "size"
        )
        tried = sorted(tried, key=lambda item: item.needs_samples)  # what calibrates takes long
        scoreboard = search(prepared.bench, tried, on_progress, budget, strict=AUTO in names)
        rows = tuple(_row(item, scoreboard, skipped, predictions) for item in resolved)
        yield _Found(prepared, scoreboard, rows, nodes)
        _forget_losers(scoreboard, rows)


def _wanted(prepared: Prepared, names: Sequence[str]) -> list[Recipe]:
    """The recipes to try, the preferred first."""
    traits, preset = _traits(prepared), prepared.model.preset
    if AUTO in names:
        return list(recipes(preset, traits))
    return [recipe(name, preset, traits) for name in dict.fromkeys(names)]


def _traits(prepared: Prepared) -> Traits:
    """What is there once constants are folded: weights may stand behind a cast or a transpose."""
    folder, graph = prepared.bench.setup.workspace.beginnings, prepared.graph
    return read_traits(begin(folder, graph, (Clean(),), Context()).model)


def _pays(wanted: Sequence[Recipe]) -> bool:
    return any(item.protect for item in wanted)


def _sensitivity(
    prepared: Prepared, wanted: Sequence[Recipe], on_progress: OnProgress, budget: float
) -> tuple[NodeSensitivity, ...]:
    if prepared.calibration is None:
        return ()
    on_progress(Progress("finding the sensitive nodes", 0, 3 * len(wanted), budget_s=budget))
    setup = prepared.bench.setup
    rows, int8 = max(setup.batches), int8_step(wanted)
    return rank(setup.workspace, prepared.graph, prepared.calibration, setup.output, rows, int8)


def _predictions(
    prepared: Prepared, resolved: Sequence[Recipe], nodes: Sequence[NodeSensitivity]
) -> dict[str, Prediction]:
    size = prepared.source.size_bytes
    found = {item.name: predict(item, nodes, size) for item in resolved if item.name != FP32.name}
    return {name: prediction for name, prediction in found.items() if prediction is not None}


def _allowed(model: Model) -> float | None:
    """The largest error that can pass, where the gate measures what sensitivity does."""
    return next(
        (limit.max_drop for limit in model.quality.limits if limit.metric in _COSINES), None
    )


def _impossible(resolved: Sequence[Recipe], name: str, model: Model) -> dict[str, str]:
    """The recipes that cannot be applied, each with the reason."""
    unresolved = (item for item in resolved if not item.is_resolved)
    few = {item.name: _few(item) for item in unresolved}
    blind = [item.name for item in resolved if item.needs_samples and model.calibration is None]
    return {**few, **dict.fromkeys(blind, f"not tried: it {_NO_SAMPLES.format(name)}")}


def _few(item: Recipe) -> str:
    return (
        f"not tried: it spares the {item.protect} most sensitive nodes, and no more than that "
        f"could be ranked"
    )


def _row(
    item: Recipe,
    scoreboard: Scoreboard,
    skipped: dict[str, str],
    predictions: dict[str, Prediction],
) -> CandidateRow:
    found = scoreboard.rows.get(item.name)
    row = found or CandidateRow(
        item.name, item.words, "skipped", skipped[item.name], digest=item.digest
    )
    expected = predictions.get(item.name)
    return replace(row, predicted_error=expected.error) if expected else row


def _forget_losers(scoreboard: Scoreboard, rows: Sequence[CandidateRow]) -> None:
    """Keep what every candidate was judged by, and the files of the smallest that passed alone."""
    passed = {row.recipe for row in rows if usable(row)}
    for name, trial in scoreboard.trials.items():
        if name not in passed and name != FP32.name:
            shutil.rmtree(trial.model_folder, ignore_errors=True)
