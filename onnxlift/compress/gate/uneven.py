"""Metrics where the answers to the samples have different shapes: each sample is measured by
itself.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from onnxlift.compress.model.answers import is_uneven
from onnxlift.compress.model.samples import Array
from onnxlift_runtime.errors import SamplesInvalid

Statistic = Callable[[Array], Array]
Metric = Callable[[Array, Array, Array | None], Statistic]

# How the samples' scores become one figure.
_MEANS: Final = ("cosine", "mean_absolute_error")
_WORST: Final = {"cosine_min": np.min, "max_absolute_error": np.max}


def adapted(name: str, metric: Metric) -> Metric:
    """The metric, which also takes answers of different shapes; raises ``SamplesInvalid`` where it
    needs equal ones.

    Distances and angles compare flat values, filled up with zeros; shares of equal classes count
    what only one of two answers has as different.
    """

    def measure(reference: Array, answers: Array, labels: Array | None) -> Statistic:
        if not (is_uneven(reference) or is_uneven(answers)) or ":" in name:
            return metric(reference, answers, labels)
        shares = name.endswith("_agreement") and name.startswith("top")
        if name not in (*_MEANS, *_WORST) and not shares:
            raise SamplesInvalid(
                f"the metric {name!r} needs answers of one shape, and the model's answers to the "
                f"samples have several; use cosine, mean_absolute_error or top1_agreement"
            )
        score = _share if shares else _score
        pairs = zip(reference, answers, strict=True)
        scores = np.array([score(metric, *pair) for pair in pairs], np.float64)
        return _combined(name, scores)

    return measure


def has_nan(answers: Array) -> bool:
    """Whether an answer is NaN."""
    parts = answers if is_uneven(answers) else (answers,)
    return any(part.dtype.kind == "f" and bool(np.isnan(part).any()) for part in parts)


def as_rows(reference: Array, answers: Array) -> tuple[Array, Array]:
    """Answers of different shapes as even ones: the rows of all samples, or what all samples have.

    Nothing where a candidate's shapes are not the fp32 model's: values then decide how many rows
    there are, and in which order.
    """
    pairs = list(zip(reference, answers, strict=True))
    if any(one.shape != other.shape for one, other in pairs):
        return np.empty(0), np.empty(0)
    if len({one.shape[1:] for one, _ in pairs}) == 1:
        first, second = zip(*pairs, strict=True)
        return np.concatenate(first), np.concatenate(second)
    if len({one.ndim for one, _ in pairs}) > 1:
        return np.empty(0), np.empty(0)
    cut = tuple(slice(min(sizes)) for sizes in zip(*(one.shape for one, _ in pairs), strict=True))
    return np.stack([one[cut] for one, _ in pairs]), np.stack([other[cut] for _, other in pairs])


def _combined(name: str, scores: Array) -> Statistic:
    if name not in _WORST:
        return lambda counts: np.asarray(counts @ scores / counts.sum(axis=1))
    worst = _WORST[name]
    unseen = np.inf if worst is np.min else -np.inf
    return lambda counts: np.asarray(worst(np.where(counts > 0, scores, unseen), axis=1))


def _one(metric: Metric, first: Array, second: Array) -> float:
    return float(metric(first[None], second[None], None)(np.ones((1, 1), np.float32))[0])


def _score(metric: Metric, first: Array, second: Array) -> float:
    """A figure of two flat answers, two values at least."""
    size = max(first.size, second.size, 2)
    flat = [np.pad(array.reshape(-1), (0, size - array.size)) for array in (first, second)]
    return _one(metric, flat[0], flat[1])


def _share(metric: Metric, first: Array, second: Array) -> float:
    """The share of equal classes, of all that either has."""
    if first.ndim != second.ndim or not first.ndim:
        return _one(metric, first, second) if first.shape == second.shape else 0.0
    common = tuple(map(min, zip(first.shape[:-1], second.shape[:-1], strict=True)))
    largest = tuple(map(max, zip(first.shape[:-1], second.shape[:-1], strict=True)))
    if first.shape[-1] != second.shape[-1]:
        return 0.0
    if not np.prod(common, dtype=np.int64):
        return float(common == largest)
    index = tuple(slice(size) for size in common)
    part = np.prod(common, dtype=np.float64) / np.prod(largest, dtype=np.float64)
    return _one(metric, first[index], second[index]) * float(part)
