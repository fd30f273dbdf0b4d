"""The metrics of the quality gate.

A metric looks at every sample once and returns a *statistic*: a function from how often each sample
counts to the figure. ``bootstrap`` calls it with many draws at once.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import numpy as np

from onnxlift.compress.model.samples import Array
from onnxlift_runtime.errors import SamplesInvalid

_MOST_COLUMNS: Final = 512
_FLAT: Final = 1e-12

Statistic: TypeAlias = Callable[[Array], Array]
"""Counts [draws, samples] to figures [draws]."""
Metric: TypeAlias = Callable[[Array, Array, Array | None], Statistic]
"""The fp32 model's answers, a candidate's, and the true classes, samples first."""


def accuracy(_reference: Array, answers: Array, labels: Array | None) -> Statistic:
    """The share of samples whose class is the label."""
    found, known = _against_labels("accuracy", answers, labels)
    return mean_of(_per_sample(found == known))


def f1(_reference: Array, answers: Array, labels: Array | None) -> Statistic:
    """The mean over the classes of the F1 score, which weighs rare classes as much as frequent
    ones.
    """
    found, known = (
        array.reshape(len(answers), -1) for array in _against_labels("f1", answers, labels)
    )
    names = np.unique(np.concatenate([found, known]))
    hits, sizes = np.zeros((2, len(answers), len(names)), np.float32)
    for index, name in enumerate(names):
        hits[:, index] = ((found == name) & (known == name)).sum(axis=1)
        sizes[:, index] = (found == name).sum(axis=1) + (known == name).sum(axis=1)

    def figures(counts: Array) -> Array:
        size = counts @ sizes
        score = np.divide(2 * (counts @ hits), size, out=np.zeros_like(size), where=size > 0)
        return np.asarray(score.sum(axis=1) / np.maximum((size > 0).sum(axis=1), 1), np.float64)

    return figures


def top_agreement(reference: Array, answers: Array, count: int) -> Statistic:
    """The mean share of the fp32 model's ``count`` best classes that are among the candidate's."""
    if count == 1:
        return mean_of(_per_sample(classes(answers) == classes(reference)))
    if answers.dtype.kind != "f" or answers.ndim < 2 or answers.shape[-1] <= count:
        raise SamplesInvalid(
            f"the metric 'top{count}_agreement' needs more than {count} scores for each sample"
        )
    best = [
        np.argsort(-array, axis=-1, kind="stable")[..., :count] for array in (reference, answers)
    ]
    return mean_of(_per_sample((best[0][..., :, None] == best[1][..., None, :]).any(axis=-1)))


def cosine(reference: Array, answers: Array, _labels: Array | None) -> Statistic:
    """The mean over the samples of the cosine similarity with the fp32 model's answer."""
    return mean_of(cosines(reference, answers))


def cosine_min(reference: Array, answers: Array, _labels: Array | None) -> Statistic:
    """The least of the samples' cosine similarities."""
    similarities = cosines(reference, answers)
    return lambda counts: np.where(counts > 0, similarities, np.inf).min(axis=1)


def spearman(reference: Array, answers: Array, _labels: Array | None) -> Statistic:
    """Rank correlation over the samples of each value with the fp32 model's, mean over the values.

    Ranks are taken once over all samples. At most 512 values, evenly spread, are looked at.
    """
    first, second = (ranks(_columns(array)) for array in (reference, answers))
    varied = np.ptp(first, axis=0) > 0
    if not varied.any():
        raise SamplesInvalid(
            "the metric 'spearman' needs samples that the fp32 model answers differently"
        )
    first, second = first[:, varied], second[:, varied]

    def figures(counts: Array) -> Array:
        share = counts.astype(np.float64) / counts.sum(axis=1, keepdims=True)
        means = share @ first, share @ second
        covariance = share @ (first * second) - means[0] * means[1]
        spread = (share @ first**2 - means[0] ** 2) * (share @ second**2 - means[1] ** 2)
        flat = spread <= 1e-20
        return np.asarray(
            np.where(flat, 0.0, covariance / np.sqrt(np.where(flat, 1.0, spread))).mean(axis=1)
        )

    return figures


def r2(reference: Array, answers: Array, _labels: Array | None) -> Statistic:
    """The coefficient of determination over all values, with the fp32 model's as the truth."""
    first, second = _flat(reference), _flat(answers)
    wrong, squares = np.square(first - second).sum(axis=1), np.square(first).sum(axis=1)

    def figures(counts: Array) -> Array:
        share = counts.astype(np.float64) / counts.sum(axis=1, keepdims=True)
        spread = share @ squares - np.square(share @ first).sum(axis=1)
        flat = spread <= _FLAT * (share @ squares)
        return np.asarray(np.where(flat, 0.0, 1 - share @ wrong / np.where(flat, 1.0, spread)))

    if len(np.unique(first, axis=0)) < 2:
        raise SamplesInvalid(
            "the metric 'r2' needs samples that the fp32 model answers differently"
        )
    return figures


def mean_absolute_error(reference: Array, answers: Array, _labels: Array | None) -> Statistic:
    """The mean distance of a value from the fp32 model's."""
    return mean_of(_distances(reference, answers).mean(axis=1))


def max_absolute_error(reference: Array, answers: Array, _labels: Array | None) -> Statistic:
    """The largest distance of a value from the fp32 model's."""
    worst = _distances(reference, answers).max(axis=1)
    return lambda counts: np.where(counts > 0, worst, -np.inf).max(axis=1)


def nearest_neighbour_agreement(
    reference: Array, answers: Array, _labels: Array | None
) -> Statistic:
    """The share of samples whose most similar other sample is the one that the fp32 model finds."""
    if len(answers) < 3:
        raise SamplesInvalid(
            "the metric 'nearest_neighbour_agreement' needs at least three samples"
        )
    return mean_of((_neighbours(reference) == _neighbours(answers)).astype(np.float64))


METRICS: Final[Mapping[str, Metric]] = {
    "accuracy": accuracy,
    "f1": f1,
    "cosine": cosine,
    "cosine_min": cosine_min,
    "spearman": spearman,
    "r2": r2,
    "mean_absolute_error": mean_absolute_error,
    "max_absolute_error": max_absolute_error,
    "nearest_neighbour_agreement": nearest_neighbour_agreement,
}


def classes(answers: Array) -> Array:
    """The class of each sample: where the last dimension is largest, or the answer itself where it
    is no float.

    Raises ``SamplesInvalid`` for an output with one number per sample, whose classes nobody
    declared.
    """
    if answers.dtype.kind != "f":
        return answers
    if answers.ndim < 2 or answers.shape[-1] < 2:
        raise SamplesInvalid(
            "the judged output has one value for each sample and no classes; use another metric"
        )
    return np.asarray(np.argmax(answers, axis=-1))


def cosines(reference: Array, answers: Array) -> Array:
    """Each sample's cosine similarity float64 [samples]; two answers of zeros count as equal."""
    first, second = _flat(reference), _flat(answers)
    if first.shape[1] < 2:
        raise SamplesInvalid(
            "the metric 'cosine' needs at least two values for each sample; the judged output has "
            "one"
        )
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    both_zero = ~(first.any(axis=1) | second.any(axis=1))
    products = np.einsum("ij,ij->i", first, second)
    similarity = np.where(lengths > 0, products / np.where(lengths > 0, lengths, 1), both_zero)
    return np.asarray(np.clip(similarity, -1, 1))


def mean_of(scores: Array) -> Statistic:
    """The mean of one score for each sample."""
    scores = scores.astype(np.float64)
    return lambda counts: counts @ scores / counts.sum(axis=1)


def _per_sample(right: Array) -> Array:
    """Shares [samples] of true values."""
    return np.asarray(right.reshape(len(right), -1).mean(axis=1))


def _flat(answers: Array) -> Array:
    if answers.dtype.kind not in "fiub":
        raise SamplesInvalid("this metric compares numbers; the judged output is text")
    if not np.isfinite(answers).all():
        raise SamplesInvalid(
            "this metric compares numbers; the judged output is infinite on some held-out samples"
        )
    return np.asarray(answers.reshape(len(answers), -1), np.float64)


def _distances(reference: Array, answers: Array) -> Array:
    return np.asarray(np.abs(_flat(reference) - _flat(answers)))


def _neighbours(answers: Array) -> Array:
    rows = _flat(answers)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(float).tiny)
    similar = rows @ rows.T
    np.fill_diagonal(similar, -np.inf)
    return np.asarray(similar.argmax(axis=1))


def _columns(answers: Array) -> Array:
    values = _flat(answers)
    if len(values) < 3:
        raise SamplesInvalid("the metric 'spearman' needs at least three samples")
    kept = np.linspace(0, values.shape[1] - 1, min(values.shape[1], _MOST_COLUMNS)).astype(np.int64)
    return np.asarray(values[:, kept])


def ranks(values: Array) -> Array:
    """Ranks within each column of [values, columns], 0 to 1; equal ones share the middle."""
    found = np.empty_like(values)
    for column, array in enumerate(values.T):
        _, place, count = np.unique(array, return_inverse=True, return_counts=True)
        found[:, column] = (np.cumsum(count) - (count + 1) / 2)[place]
    return np.asarray(found / max(len(values) - 1, 1))


def _against_labels(metric: str, answers: Array, labels: Array | None) -> tuple[Array, Array]:
    """The classes found and the true ones, in the same form."""
    if labels is None:
        raise SamplesInvalid(
            f"the metric {metric!r} needs labels; name their array with quality.labels"
        )
    found = classes(answers)
    if found.shape != labels.shape:
        raise SamplesInvalid(
            f"the labels have shape {list(labels.shape)}, the model's classes {list(found.shape)}"
        )
    return found, np.char.encode(labels, "utf-8") if labels.dtype.kind == "U" else labels
