"""Which candidate becomes the artifact, and why each other one does not; pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal, TypeAlias

from onnxlift.compress.results import CandidateRow
from onnxlift.units import size
from onnxlift_runtime.errors import QualityGateFailed

Goal: TypeAlias = Literal["size", "latency", "cost", "preference"]

# Less than this is no reason to prefer a candidate that is further down in the list of recipes.
WORTH: Final = 0.1
# Two timings of one model differ by as much; among equals the smallest file wins.
NOISE: Final = 0.05


def choose(
    rows: Sequence[CandidateRow], optimize_for: Goal = "size"
) -> tuple[CandidateRow, tuple[CandidateRow, ...]]:
    """Choose among the rows that nothing speaks against, and give every other its reason.

    Rows come in order of preference. For "size" one that is less than a tenth larger than the
    smallest wins over those behind it, so that the outcome never depends on timings; for "latency"
    and "cost" the smallest of those within a twentieth of the best; for "preference" the first.
    Raises ``QualityGateFailed`` with each row's reason where none is left.
    """
    able = [row for row in rows if usable(row) and _VALUES[optimize_for](row) is not None]
    if not able:
        reasons = "; ".join(
            f"{row.recipe}: {row.reason or f'its {optimize_for} was not measured'}" for row in rows
        )
        raise QualityGateFailed(
            f"no recipe keeps the model within its quality limit, nothing was written: {reasons}"
        )
    winner = _winner(able, optimize_for)
    return replace(winner, status="chosen", reason=_gain(able, optimize_for)), tuple(
        replace(row, status="chosen", reason=_gain(able, optimize_for))
        if row is winner
        else replace(row, reason=row.reason or _loss(row, winner, optimize_for))
        for row in rows
    )


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


def _gain(able: Sequence[CandidateRow], optimize_for: str) -> str:
    word = {
        "size": "smallest",
        "latency": "fastest",
        "cost": "cheapest",
        "preference": "preferred",
    }[optimize_for]
    return f"the {word} of {len(able)} that pass" if len(able) > 1 else "the only one that passes"


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
