"""The search: every recipe in a process of its own, judged on every instruction set, bounded in
time, resumable.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import Final, TypeAlias

from onnxlift.compress.gate.judgement import Gate
from onnxlift.compress.model.samples import Samples
from onnxlift.compress.recipes.recipe import FP32, Recipe
from onnxlift.compress.results import CandidateRow
from onnxlift.compress.search.choice import usable
from onnxlift.compress.search.instruction_sets import Target, cross, native_name
from onnxlift.compress.search.timing import timed
from onnxlift.compress.search.trial_pool import Trial, TrialSetup, run_trials
from onnxlift_runtime.errors import (
    InferenceFailed,
    ModelUnavailable,
    OnnxliftError,
    QualityGateFailed,
    SamplesInvalid,
)

# The share of a search's time for making candidates; the rest is for other instruction sets and for
# timing.
_MAKING: Final = 0.65
TIME_IS_OVER: Final = "the search's time was over"
NO_TIME: Final = f"not tried: {TIME_IS_OVER}"


@dataclass(frozen=True)
class Progress:
    """Where a search stands: what it does, how many of how many parts are done, the best so far.

    ``budget_s`` is what it may take; 0 where that is not known.
    """

    doing: str
    done: int
    total: int
    best: str = ""
    budget_s: float = 0.0


OnProgress: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True)
class Bench:
    """Everything that candidates are made from and judged by.

    ``fp32`` is the fp32 model's own trial. ``missing`` maps instruction sets that cannot be reached
    here to the reason; ``deadline`` is monotonic seconds.
    """

    setup: TrialSetup
    fp32: Trial
    gate: Gate
    held_out: Samples
    targets: tuple[Target, ...]
    missing: Mapping[str, str]
    deadline: float = float("inf")


@dataclass
class Scoreboard:
    """The rows of a search as they fill, in the order of the recipes."""

    recipes: Sequence[Recipe]
    on_progress: OnProgress
    budget_s: float
    strict: bool
    rows: dict[str, CandidateRow] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)
    done: int = 0

    def put(self, row: CandidateRow) -> None:
        """Replace one row."""
        self.rows[row.recipe] = row

    def tell(self, doing: str) -> None:
        """Say what was just done; one of three parts for each recipe is over."""
        self.done += 1
        passing = [row for row in self.rows.values() if usable(row)]
        best = min(passing, key=lambda row: row.size_bytes, default=None)
        total = 3 * len(self.recipes)
        self.on_progress(
            Progress(
                doing, min(self.done, total), total, best.recipe if best else "", self.budget_s
            )
        )

    @property
    def passing(self) -> list[Recipe]:
        """The recipes that nothing speaks against so far, the smallest first."""
        found = [recipe for recipe in self.recipes if usable(self.rows[recipe.name])]
        return sorted(found, key=lambda recipe: self.rows[recipe.name].size_bytes)


def search(
    bench: Bench,
    recipes: Sequence[Recipe],
    on_progress: OnProgress,
    budget_s: float,
    *,
    strict: bool,
) -> Scoreboard:
    """Make, judge and time every recipe's candidate; rows that passed have no reason yet.

    ``strict`` refuses what may saturate where that cannot be looked at; without it a recipe was
    asked for by name. What the time did not suffice for says so; what failed says why.
    """
    scoreboard = Scoreboard(recipes, on_progress, budget_s, strict)
    for recipe in recipes:
        scoreboard.put(_row(recipe, "skipped", NO_TIME))

    def finished(trial: Trial) -> None:
        scoreboard.trials[trial.recipe.name] = trial
        scoreboard.put(_judged(bench, trial, strict=strict))
        scoreboard.tell(f"made {trial.recipe.name}")

    others = [recipe for recipe in recipes if recipe != FP32]
    if len(others) < len(recipes):
        finished(bench.fp32)
    now = monotonic()
    run_trials(bench.setup, others, finished, deadline=now + _MAKING * (bench.deadline - now))
    _cross_all(bench, scoreboard)
    for recipe in scoreboard.passing:
        late = monotonic() > bench.deadline and recipe.name != FP32.name
        scoreboard.put(
            timed(
                bench.setup,
                scoreboard.trials[recipe.name],
                bench.held_out,
                scoreboard.rows[recipe.name],
                skip=late,
            )
        )
        scoreboard.tell(f"timed {recipe.name}")
    return scoreboard


def _row(recipe: Recipe, status: str, reason: str) -> CandidateRow:
    return CandidateRow(recipe.name, recipe.words, status, reason, digest=recipe.digest)  # type: ignore[arg-type]


def _judged(bench: Bench, trial: Trial, *, strict: bool) -> CandidateRow:
    """The row of one trial after this machine's figures."""
    row = replace(
        _row(trial.recipe, "failed", trial.reason), cached=trial.cached, seconds=trial.seconds
    )
    if trial.reason:
        return row
    row = replace(
        row,
        steps=(*row.steps, *trial.notes),
        size_bytes=trial.size_bytes,
        gzip_bytes=trial.gzip_bytes,
        status="lost",
    )
    try:
        figures = tuple(
            figure
            for rows in bench.setup.batches
            for figure in bench.gate.judge(trial.answers(rows), rows, native_name())
        )
    except OnnxliftError as error:
        return replace(row, reason=str(error))
    blind = f"it may saturate on {', '.join(bench.missing)}, which cannot be looked at here"
    unsafe = blind if strict and bench.missing and not trial.recipe.isa_safe else ""
    reason = bench.gate.obstacle(figures, ()) or _broken(bench, trial) or unsafe
    return replace(row, figures=figures, reason=reason)


def _broken(bench: Bench, trial: Trial) -> str:
    found = (
        bench.gate.broken(trial.answers(rows), rows, native_name()) for rows in bench.setup.batches
    )
    return next(filter(None, found), "")


def _cross_all(bench: Bench, scoreboard: Scoreboard) -> None:
    """Judge what passed on the other instruction sets, several at a time; fp32 and the smallest in
    any case.
    """
    for target in bench.targets:
        names = [recipe.name for recipe in scoreboard.passing]
        anyway = {FP32.name, *names[:1]}
        with ThreadPoolExecutor(bench.setup.at_a_time) as pool:
            try:
                for row in pool.map(partial(_crossed, bench, scoreboard, target, anyway), names):
                    scoreboard.put(row)
                    scoreboard.tell(f"ran {row.recipe} on {target.name}")
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _crossed(
    bench: Bench, scoreboard: Scoreboard, target: Target, anyway: Set[str], name: str
) -> CandidateRow:
    row = scoreboard.rows[name]
    if monotonic() > bench.deadline and name not in anyway:
        return replace(row, reason=f"not verified on {target.name}: {TIME_IS_OVER}")
    try:
        found = cross(
            target, scoreboard.trials[name], bench.setup, bench.held_out, bench.gate, row.figures
        )
    except (InferenceFailed, ModelUnavailable, QualityGateFailed, SamplesInvalid) as error:
        if name == FP32.name:  # then no candidate is to blame
            raise
        return replace(row, reason=str(error))
    figures, agreement = (*row.figures, *found.figures), (*row.agreement, found.agreement)
    reason = bench.gate.obstacle(figures, agreement) or found.broken
    return replace(row, figures=figures, agreement=agreement, reason=reason)
