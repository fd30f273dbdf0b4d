"""Which candidate becomes the artifact, and why each other one does not; pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from onnxlift.compress.quality import passes
from onnxlift_runtime.errors import QualityGateFailed
from onnxlift_runtime.manifest import Quality

# Less than this is no reason to prefer a candidate that is further down in the list of recipes.
WORTH: Final = 0.1


@dataclass(frozen=True)
class Candidate:
    """One recipe's outcome: size and quality where it gave a model, else ``reason`` says why it did not.

    After ``choose``, ``reason`` says why the candidate lost and is empty for the chosen one.
    """

    recipe: str
    size_bytes: int = 0
    quality: Quality | None = None
    reason: str = ""

    @property
    def usable(self) -> bool:
        """Whether the recipe gave a model that passes the gate."""
        return self.quality is not None and not self.reason and passes(self.quality)


def choose(candidates: Sequence[Candidate]) -> tuple[Candidate, tuple[Candidate, ...]]:
    """Choose the smallest that passes, and give every loser its reason.

    Candidates come in order of preference: one that is less than a tenth larger than the smallest wins over those
    behind it. Raises ``QualityGateFailed`` with each candidate's reason where none passes.
    """
    usable = [candidate for candidate in candidates if candidate.usable]
    if not usable:
        reasons = "; ".join(f"{item.recipe}: {_defect(item)}" for item in candidates)
        raise QualityGateFailed(f"no recipe keeps the model within its quality limit, nothing was written: {reasons}")
    smallest = min(candidate.size_bytes for candidate in usable)
    winner = next(item for item in usable if item.size_bytes * (1 - WORTH) <= smallest)
    return winner, tuple(item if item is winner else replace(item, reason=_loss(item, winner)) for item in candidates)


def _defect(candidate: Candidate) -> str:
    quality = candidate.quality
    if candidate.reason or quality is None:
        return candidate.reason or "not measured"
    return (
        f"{quality.metric} falls from {quality.reference:.6g} to {quality.measured:.6g} on {quality.samples} samples, "
        f"by {quality.drop:.2g} where {quality.max_drop:g} is allowed"
    )


def _loss(candidate: Candidate, winner: Candidate) -> str:
    if not candidate.usable:
        return _defect(candidate)
    if candidate.size_bytes >= winner.size_bytes:
        return f"{candidate.size_bytes / winner.size_bytes:.2f} × the size of {winner.recipe}"
    saved = 1 - candidate.size_bytes / winner.size_bytes
    return f"only {saved:.0%} smaller than {winner.recipe}, which is preferred"
