"""Which candidate becomes the artifact, and why each other one does not; pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal, TypeAlias

from onnxlift.compress.recipes.recipe import FP32
from onnxlift.compress.results import CandidateRow
from onnxlift.units import size
from onnxlift_runtime.errors import QualityGateFailed

Goal: TypeAlias = Literal["size", "latency", "cost", "preference"]

# Less than this is no reason to prefer a candidate that is further down in the list of recipes.
WORTH: Final = 0.1
# Two timings of one model differ by as much; among equals the smallest file wins.
NOISE: Final = 0.05
# Two processes on a busy machine may seem that different.
_FAR: Final = 3


def choose(
    rows: Sequence[CandidateRow], optimize_for: Goal = "size", max_slowdown: float | None = None
) -> tuple[CandidateRow, tuple[CandidateRow, ...]]:
    """Choose among the rows that nothing speaks against, and give every other its reason.

    Rows come in order of preference. For "size" one that is less than a tenth larger than the
    smallest wins over those behind it; for "latency" and "cost" the smallest of those within a
    twentieth of the best; for "preference" the first. fp32 wins over what is neither a tenth
    smaller nor, where that is asked for, clearly faster or cheaper. For "size" a row that takes
    more than ``max_slowdown`` times as long as fp32 loses; None allows any. Raises
    ``QualityGateFailed`` with each row's reason where none is left.
    """
    able = [row for row in rows if usable(row) and _VALUES[optimize_for](row) is not None]
    if not able:
        reasons = "; ".join(
            f"{row.recipe}: {row.reason or f'its {optimize_for} was not measured'}" for row in rows
        )
        raise QualityGateFailed(
            f"no recipe keeps the model within its quality limit, nothing was written: {reasons}"
        )
    worse = _worse_than_fp32(able, optimize_for, max_slowdown)
    winner = _winner([row for row in able if row.recipe not in worse], optimize_for)
    gain = _gain(able, winner, optimize_for)
    explained = tuple(
        replace(row, status="chosen", reason=gain)
        if row is winner
        else replace(
            row,
            reason=row.reason or worse.get(row.recipe) or _loss(row, winner, optimize_for),
        )
        for row in rows
    )
    return replace(winner, status="chosen", reason=gain), explained


def _worse_than_fp32(
    able: Sequence[CandidateRow], goal: Goal, max_slowdown: float | None
) -> dict[str, str]:
    """The rows to which fp32 is preferred, by recipe, with the reason."""
    fp32 = next((row for row in able if row.recipe == FP32.name), None)
    if fp32 is None or goal == "preference":
        return {}
    most = max_slowdown if goal == "size" and max_slowdown is not None else math.inf
    drawbacks = {
        row.recipe: _drawback(row, fp32, goal) or _too_slow(row, fp32, most)
        for row in able
        if row is not fp32
    }
    return {recipe: why for recipe, why in drawbacks.items() if why}


def _drawback(row: CandidateRow, fp32: CandidateRow, goal: Goal) -> str:
    """Why a row is not worth it: neither much smaller than fp32 nor better in what is asked for."""
    saved = 1 - row.size_bytes / fp32.size_bytes
    if saved >= WORTH or (goal != "size" and _is_better(row, fp32, goal)):
        return ""
    if saved > 0:
        return f"only {saved:.1%} smaller than fp32, which is preferred"
    return f"{-saved:.1%} larger than fp32, which is preferred"


def _is_better(row: CandidateRow, fp32: CandidateRow, goal: Goal) -> bool:
    value, other = _VALUES[goal](row), _VALUES[goal](fp32)
    return value is not None and other is not None and value <= other * (1 - NOISE)


def _too_slow(row: CandidateRow, fp32: CandidateRow, max_slowdown: float) -> str:
    # Times that were not taken in turns tell only what is far beyond.
    most = max_slowdown if row.slowdown is not None else max(_FAR, 2 * max_slowdown)
    slowdown = _slowdown(row, fp32)
    if slowdown is None or slowdown <= most:
        return ""
    return f"{slowdown:.2f} × the time of fp32, {max_slowdown:g} × is allowed (max_slowdown)"


def _slowdown(row: CandidateRow, fp32: CandidateRow) -> float | None:
    if row.slowdown is not None:
        return row.slowdown
    own, other = _latency(row), _latency(fp32)
    return own / other if own and other else None


def usable(row: CandidateRow) -> bool:
    """Whether a row is a model that passed the gate."""
    return row.status == "lost" and not row.reason


def _winner(able: Sequence[CandidateRow], optimize_for: Goal) -> CandidateRow:
    if optimize_for == "preference":
        return able[0]
    return _smallest(able) if optimize_for == "size" else _best(able, optimize_for)


def _smallest(able: Sequence[CandidateRow]) -> CandidateRow:
    least = min(row.size_bytes for row in able)
    return next(row for row in able if row.size_bytes * (1 - WORTH) <= least)


def _best(able: Sequence[CandidateRow], optimize_for: str) -> CandidateRow:
    values = [(_VALUES[optimize_for](row) or 0.0, row) for row in able]
    least = min(value for value, _ in values)
    return min(
        (row for value, row in values if value * (1 - NOISE) <= least),
        key=lambda row: row.size_bytes,
    )


def _latency(row: CandidateRow) -> float | None:
    """p50 at the smallest batch, where a single request lands."""
    return min(row.latency, key=lambda item: item.batch_size).p50_ms if row.latency else None


_VALUES: Final[Mapping[str, Callable[[CandidateRow], float | None]]] = {
    "size": lambda row: float(row.size_bytes),
    "latency": _latency,
    "cost": lambda row: row.cost_usd_per_1000,
    "preference": lambda _: 0.0,
}


def _gain(able: Sequence[CandidateRow], winner: CandidateRow, optimize_for: str) -> str:
    word = {
        "size": "smallest",
        "latency": "fastest",
        "cost": "cheapest",
        "preference": "preferred",
    }[optimize_for]
    if len(able) == 1:
        return "the only one that passes"
    if winner.recipe == FP32.name and optimize_for != "preference":
        return "no other is worth it"
    slow = winner.slowdown is not None and winner.slowdown > 1 + NOISE
    price = f", {winner.slowdown:.2f} × the time of fp32" if slow else ""
    return f"the {word} of {len(able)} that pass{price}"


def _loss(row: CandidateRow, winner: CandidateRow, optimize_for: str) -> str:
    value, best = _VALUES[optimize_for](row), _VALUES[optimize_for](winner)
    if value is None or best is None:
        return f"its {optimize_for} was not measured"
    if optimize_for == "preference":
        return f"{winner.recipe} is preferred"
    if optimize_for == "size" and size(row.size_bytes) == size(winner.size_bytes):
        return f"as large as {winner.recipe}, which is preferred"
    if optimize_for == "size" and value < best:
        return f"only {1 - value / best:.1%} smaller than {winner.recipe}, which is preferred"
    if optimize_for != "size" and value * (1 - NOISE) <= best:
        return f"about the {optimize_for} of {winner.recipe}, which is smaller"
    if optimize_for == "size":
        return f"{size(row.size_bytes)}, {winner.recipe} passes with {size(winner.size_bytes)}"
    return f"{value / best:.2f} × the {optimize_for} of {winner.recipe}"
