"""The quality gate: what figures a candidate must reach, on every instruction set and batch size;
pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from onnxlift.compress.gate.bootstrap import estimate, samples_to_show
from onnxlift.compress.gate.columns import lost_channel
from onnxlift.compress.gate.lookup import is_share
from onnxlift.compress.gate.metrics import cosines
from onnxlift.compress.gate.premises import require_above_chance, require_possible
from onnxlift.compress.gate.uneven import as_rows, has_nan
from onnxlift.compress.model.answers import Answers, is_uneven
from onnxlift.compress.model.samples import Array
from onnxlift.compress.results import Agreement, CandidateRow, Figure, Limit
from onnxlift.config import ERROR_METRICS
from onnxlift.config import Quality as Conditions
from onnxlift_runtime.errors import QualityGateFailed
from onnxlift_runtime.manifest import Quality

_ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class Gate:
    """The conditions, and what the fp32 model answers to the held-out samples at each batch size.

    The limits hold for the output named ``output``; all the others must only stay alive. A text
    model may answer differently beside longer text, so a candidate is compared at the same batch
    size.
    """

    conditions: Conditions
    output: str
    references: Mapping[int, Answers]
    labels: Array | None
    limits: tuple[Limit, ...]

    @classmethod
    def of(
        cls,
        conditions: Conditions,
        output: str,
        references: Mapping[int, Answers],
        labels: Array | None,
    ) -> "Gate":
        """Take the fp32 model's own figures, those of the largest batch.

        Raises ``SamplesInvalid`` where a metric does not fit its answers.
        """
        limits, reference = [], references[max(references)][output]
        if labels is not None:
            require_possible(labels, reference)
        for item in conditions.limits:
            larger = item.metric not in ERROR_METRICS
            own = estimate(
                item.metric, reference, reference, labels, conditions.confidence
            ).measured
            if item.metric == "accuracy" and labels is not None:
                require_above_chance(own, labels)
            allowed = own - item.allowed_loss if larger else own + item.allowed_loss
            limits.append(Limit(item.metric, own, allowed, conditions.confidence, larger))
        return cls(conditions, output, references, labels, tuple(limits))

    def judge(self, answers: Answers, rows: int, instruction_set: str) -> tuple[Figure, ...]:
        """A figure with its bound for each limit; raises ``QualityGateFailed`` where an answer is
        NaN.
        """
        reference = self.references[rows][self.output]
        return self._figures(reference, answers[self.output], self.labels, rows, instruction_set)

    def broken(
        self, answers: Answers, rows: int, instruction_set: str, picked: Array | None = None
    ) -> str:
        """Say which output is dead, whatever the metric says; empty where none is.

        Dead is one that is NaN, and one of which a channel that varies in fp32 is constant or
        follows fp32 no longer. ``picked`` are the samples that were answered, all where it is None.
        """
        for name, whole in self.references[rows].items():
            reference = whole if picked is None else whole[picked]
            if why := _dead(reference, answers.get(name, reference[:0])):
                return f"output {name!r} is broken: {why} ({instruction_set}, batch {rows})"
        return ""

    def judge_some(
        self,
        picked: Array,
        here: Array,
        there: Array,
        known: Sequence[Figure],
        rows: int,
        instruction_set: str,
    ) -> tuple[Figure, ...]:
        """Figures where only the samples ``picked`` were answered on a slow instruction set.

        ``here`` and ``there`` are the candidate's answers to them on this machine and on that one.
        What is lost between the two is added to ``known``, the figures of all samples on this
        machine.
        """
        labels = None if self.labels is None else self.labels[picked]
        reference = self.references[rows][self.output][picked]
        first = self._figures(reference, here, labels, rows, instruction_set)
        second = self._figures(reference, there, labels, rows, instruction_set)
        full = {figure.metric: figure for figure in known if figure.batch_size == rows}
        figures = []
        for limit, before, after in zip(self.limits, first, second, strict=True):
            sign = 1.0 if limit.larger_is_better else -1.0
            lost = sign * max(0.0, limit.loss(after.measured) - limit.loss(before.measured))
            base = full[limit.metric]
            figures.append(
                replace(
                    base,
                    measured=base.measured - lost,
                    bound=base.bound - lost,
                    bootstrap_bound=(base.bootstrap_bound or base.bound) - lost,
                    samples=len(picked),
                    instruction_set=instruction_set,
                )
            )
        return tuple(figures)

    def obstacle(self, figures: Sequence[Figure], agreement: Sequence[Agreement]) -> str:
        """Why a candidate does not pass, in one sentence; empty where it passes."""
        for limit in self.limits:
            worst = limit.worst(figures)
            if worst is None:
                return f"{limit.metric} was not measured"
            if not limit.deciding_loss(worst) <= limit.max_loss + _ROUNDING:
                return _told(limit, worst)
        for found in agreement:
            if not found.measured >= self.conditions.min_agreement - _ROUNDING:
                return (
                    f"on {found.instruction_set} it answers differently: agreement "
                    f"{found.measured:.4f}, "
                    f"at least {self.conditions.min_agreement:g} is needed"
                )
        return ""

    def qualities(self, row: CandidateRow) -> tuple[Quality, ...]:
        """What the manifest says about a row that passed: the worst figure of each limit, the main
        one first.
        """
        return tuple(
            _quality(limit, worst)
            for limit in self.limits
            if (worst := row.worst(limit)) is not None
        )

    def _figures(
        self,
        reference: Array,
        answers: Array,
        labels: Array | None,
        rows: int,
        instruction_set: str,
    ) -> tuple[Figure, ...]:
        require_numbers(answers, self.output)
        confidence = self.conditions.confidence
        found = [
            (limit.metric, estimate(limit.metric, reference, answers, labels, confidence))
            for limit in self.limits
        ]
        return tuple(
            Figure(
                metric,
                item.measured,
                item.bound,
                len(answers),
                rows,
                instruction_set,
                item.bootstrap_bound,
                item.least_loss,
            )
            for metric, item in found
        )


def too_few(limit: Limit, figure: Figure) -> str:
    """What to say where the samples cannot show the allowed loss; empty where they can."""
    if not limit.is_blind(figure):
        return ""
    asked = f"{limit.confidence:.0%} confidence"
    if not is_share(limit.metric):
        return f"{limit.metric}: one held-out sample shows nothing with {asked}; take more"
    needed = samples_to_show(limit.max_loss, limit.confidence)
    more = f"{needed:,} samples would" if needed else "no number of samples would"
    return (
        f"{limit.metric}: {figure.samples} held-out samples can show a loss of "
        f"{figure.least_loss:.2g} at best with {asked}, {limit.max_loss:.2g} is allowed; {more}"
    )


def require_numbers(answers: Array, output: str) -> None:
    """Raise ``QualityGateFailed`` where an answer is NaN."""
    if has_nan(answers):
        raise QualityGateFailed(f"its output {output!r} is NaN on some held-out samples")


def _dead(reference: Array, answers: Array) -> str:
    if len(answers) != len(reference):
        return "it has not one row for each sample"
    if has_nan(answers) and not has_nan(reference):
        return "it is NaN on some held-out samples"
    return lost_channel(*_overlap(reference, answers))


def _overlap(first: Array, second: Array) -> tuple[Array, Array]:
    """What two sets of answers both have; outputs that are not judged may differ in length."""
    if is_uneven(first) or is_uneven(second):
        return as_rows(first, second)
    if first.ndim != second.ndim:
        return first[:0], second[:0]
    sizes = tuple(map(min, first.shape, second.shape))
    common = tuple(map(slice, sizes))
    return first[common], second[common]


def agreement(first: Array, second: Array) -> float:
    """How closely two sets of answers agree, 1 where they are equal.

    The mean cosine similarity of the samples; one number for each sample is taken as one vector
    over all of them; classes and text agree where they are equal, and infinities alone where both
    have them.
    """
    if is_uneven(first) or is_uneven(second):
        return _agreement_by_sample(first, second)
    if first.dtype.kind != "f":
        return float(np.mean(first == second))
    infinite = np.isinf(first) | np.isinf(second)
    if np.isnan(second).any() or not np.array_equal(first[infinite], second[infinite]):
        return float("nan")
    first, second = (np.where(infinite, 0, answers) for answers in (first, second))
    rows = len(first) if first.size > len(first) else 1
    if first.size < 2:
        return float(np.allclose(first, second, rtol=1e-3))
    return float(np.mean(cosines(first.reshape(rows, -1), second.reshape(rows, -1))))


def _agreement_by_sample(first: Array, second: Array) -> float:
    """The mean over the samples; answers of two shapes do not agree."""
    pairs = zip(first, second, strict=True)
    found = [
        agreement(one[None], other[None])
        if one.shape == other.shape and one.size
        else float(one.shape == other.shape)
        for one, other in pairs
    ]
    return float(np.mean(found))


def _told(limit: Limit, worst: Figure) -> str:
    verb, allowed = ("falls", "is allowed") if limit.larger_is_better else ("rises", "is allowed")
    bound = f" (bound {worst.bound:.6g})" if worst.bound != worst.measured else ""
    return (
        f"{limit.metric} {verb} from {limit.reference:.6g} to {worst.measured:.6g}{bound} on "
        f"{worst.samples} samples, "
        f"by {limit.deciding_loss(worst):.2g} where {limit.max_loss:.4g} "
        f"{allowed} "
        f"({worst.instruction_set}, batch {worst.batch_size})"
    )


def _quality(limit: Limit, worst: Figure) -> Quality:
    return Quality(
        metric=limit.metric,
        reference=limit.reference,
        measured=worst.measured,
        max_drop=limit.max_loss,
        samples=worst.samples,
        bound=worst.bound,
        confidence=limit.confidence,
        larger_is_better=limit.larger_is_better,
    )
