"""Figures of two sets of answers, each with a one-sided bound: the larger of two rules.

A bootstrap draw is a sample with replacement, so it is a vector of counts. A thousand draws are one
matrix [draws, samples], and most metrics are one product with it (Efron & Tibshirani, "An
Introduction to the Bootstrap", 1993, chapter 13). It cannot see what no sample shows; the rule of
three can: of n samples without a loss, the true share of losses is below 3/n (Hanley and
Lippman-Hand, "If Nothing Goes Wrong, Is Everything All Right?", 1983).
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from onnxlift.compress.gate.lookup import find_metric, is_share
from onnxlift.compress.model.samples import Array
from onnxlift.config import ERROR_METRICS

DRAWS: Final = 1000
SEED: Final = 20_261_121


@dataclass(frozen=True)
class Estimate:
    """A figure, and the bound that the true one is better than with the confidence that was asked
    for.

    ``reference`` is the fp32 model's figure on the same samples, ``bootstrap_bound`` the bound
    without the rule for few samples, ``least_loss`` the smallest loss that they can show.
    """

    reference: float
    measured: float
    bound: float
    bootstrap_bound: float
    least_loss: float


def estimate(
    name: str, reference: Array, answers: Array, labels: Array | None, confidence: float
) -> Estimate:
    """Measure one metric; fp32 and candidate are drawn together, so that what both get wrong
    cancels out.

    The bound is never better than the measured figure. Raises ``SamplesInvalid`` where the metric
    does not fit the answers, and ``ConfigInvalid`` where it is a function that cannot be imported.
    """
    metric = find_metric(name)
    before, after = metric(reference, reference, labels), metric(reference, answers, labels)
    every = np.ones((1, len(answers)), np.float32)
    first, second = float(before(every)[0]), float(after(every)[0])
    counts = draw(len(answers))
    sign = -1.0 if name in ERROR_METRICS else 1.0
    losses = sign * (before(counts) - after(counts))
    loss = max(float(np.quantile(losses, confidence, method="higher")), sign * (first - second))
    least = least_loss(name, len(answers), confidence)
    bound = max(loss, least) if math.isfinite(least) else loss
    return Estimate(first, second, first - sign * bound, first - sign * loss, least)


def least_loss(metric: str, samples: int, confidence: float) -> float:
    """The smallest loss that this many samples can show with this confidence.

    A share is bounded by the exact form of the rule of three. Of other metrics one sample shows
    nothing, and more are left to the bootstrap.
    """
    if is_share(metric):
        return float(1 - (1 - confidence) ** (1 / samples))
    return math.inf if samples < 2 else 0.0


def samples_to_show(loss: float, confidence: float) -> int:
    """How many samples show a share's loss this small; 0 where no number of them does."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-loss)) if 0 < loss < 1 else int(loss)


@lru_cache(maxsize=2)
def draw(samples: int) -> Array:
    """How often each sample is drawn in each of a thousand draws, float32 [draws, samples]; always
    the same.
    """
    random = np.random.default_rng(SEED)
    return random.multinomial(samples, np.full(samples, 1 / samples), size=DRAWS).astype(np.float32)
