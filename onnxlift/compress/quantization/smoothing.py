"""Which scale and shift of each channel make an int8 product of activations and weights lose least:
pure numbers.

The expected squared error of one product has two parts, each a step² / 12 times what it is
multiplied with: the activations' rounding, of step ``(max - min) / 255`` over a whole run, times
the weights' size; and the weights' rounding, of step ``max / 127`` over a column, times the
activations' size. A channel's scale trades one for the other, a shift (Wei et al., "Outlier
Suppression+", arXiv 2304.09145) lowers the first alone. Both are found by gradient descent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

# Adam's settings; the rate falls to 0 over the steps.
_STEPS: Final = 150
_RATE: Final = 0.03
_FIRST_DECAY: Final = 0.9
_SECOND_DECAY: Final = 0.99
_COMPENSATED: Final = 0.5
"""What compensated rounding leaves of the weights' part, measured on transformer projections."""
_TINY: Final = 1e-6


@dataclass(frozen=True)
class Smoothing:
    """Replace activations ``X`` by ``(X - shift) / scale``; ``error`` is the expected squared error
    left in all.
    """

    scale: np.ndarray
    shift: np.ndarray
    error: float


@dataclass(frozen=True)
class Ranges:
    """What the error depends on: each run's channel maxima and minima [runs, channels], its rows,
    and two sums.
    """

    high: np.ndarray
    low: np.ndarray
    rows: np.ndarray
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, runs: Sequence[np.ndarray]) -> "Ranges":
        """Read them from runs [rows, channels]."""

        def of_each(figure: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
            return np.stack([figure(run) for run in runs])

        sums = of_each(lambda run: run.sum(axis=0, dtype=np.float64))
        squares = of_each(lambda run: np.square(run, dtype=np.float64).sum(axis=0))
        return cls(
            high=of_each(lambda run: run.max(axis=0)),
            low=of_each(lambda run: run.min(axis=0)),
            rows=np.array([len(run) for run in runs], np.float64),
            total=sums.sum(axis=0),
            squares=squares.sum(axis=0),
        )


def formula(ranges: Ranges, weight: np.ndarray, alpha: float) -> np.ndarray:
    """SmoothQuant's equation 4: ``max|X|**alpha / max|W|**(1 - alpha)`` for each channel, 1 where
    one is zero.
    """
    widest = np.maximum(ranges.high, -ranges.low).max(axis=0).astype(np.float64)
    largest = np.abs(weight).max(axis=1).astype(np.float64)
    scale = np.maximum(widest, _TINY) ** alpha / np.maximum(largest, _TINY) ** (1 - alpha)
    return np.where((widest < _TINY) | (largest < _TINY), 1.0, scale)


def fit(ranges: Ranges, weight: np.ndarray, *, shifted: bool) -> Smoothing:
    """Find the scales, and the shifts when ``shifted``, that lose least with ``weight`` [channels,
    outputs].

    Adam on the logarithm of the scale, from the formula's alpha 0.8 and the middle of each
    channel's range.
    """
    middle = (ranges.high.max(axis=0).astype(np.float64) + ranges.low.min(axis=0)) / 2
    shift = middle if shifted else np.zeros(len(weight))
    point = np.stack([np.log(formula(ranges, weight, 0.8)), shift])
    first, second = np.zeros_like(point), np.zeros_like(point)
    best = Smoothing(np.ones(len(weight)), np.zeros(len(weight)), np.inf)
    size = _Size.of(weight)
    for step in range(_STEPS):
        error, slope = _error(ranges, size, point)
        if error < best.error:
            best = Smoothing(np.exp(point[0]), point[1].copy(), error)
        first = _FIRST_DECAY * first + (1 - _FIRST_DECAY) * slope
        second = _SECOND_DECAY * second + (1 - _SECOND_DECAY) * slope**2
        move = first / (1 - _FIRST_DECAY ** (step + 1))
        move /= np.sqrt(second / (1 - _SECOND_DECAY ** (step + 1))) + _TINY
        stride = _RATE * (1 - step / _STEPS) * move
        point = point - np.stack([stride[0], stride[1] * np.exp(point[0]) * shifted])
    return best


def expected_error(
    ranges: Ranges, weight: np.ndarray, scale: np.ndarray, shift: np.ndarray
) -> float:
    """The expected squared error of the product, over all rows and outputs, with this scale and
    shift [channels].
    """
    return _error(ranges, _Size.of(weight), np.stack([np.log(scale), shift]))[0]


@dataclass(frozen=True)
class _Size:
    """The weights' magnitudes [outputs, channels] and their squares summed over outputs."""

    magnitude: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, weight: np.ndarray) -> "_Size":
        # Searched along channels again and again, so those lie side by side.
        magnitude = np.ascontiguousarray(np.abs(weight).T)
        return cls(magnitude, np.square(magnitude, dtype=np.float64).sum(axis=0))


def _error(ranges: Ranges, size: _Size, point: np.ndarray) -> tuple[float, np.ndarray]:
    """The error at ``point`` [log scale, shift], and its slope relative to it (the shift's in units
    of the scale).
    """
    scale, shift = np.exp(point[0]), point[1]
    rounded, rounded_slope = _activation_error(ranges, size, scale, shift)
    weights, weights_slope = _weight_error(ranges, size, scale, shift)
    error = rounded + weights
    return error, (rounded_slope + weights_slope) / max(error, np.finfo(float).tiny)


def _activation_error(
    ranges: Ranges, size: _Size, scale: np.ndarray, shift: np.ndarray
) -> tuple[float, np.ndarray]:
    runs = np.arange(len(ranges.rows))
    # float32 is twice as fast to search through.
    shrink, start = (1 / scale).astype(np.float32), shift.astype(np.float32)
    top = ((ranges.high - start) * shrink).argmax(axis=1)
    bottom = ((ranges.low - start) * shrink).argmin(axis=1)
    above = np.maximum((ranges.high[runs, top] - shift[top]) / scale[top], 0)
    below = np.minimum((ranges.low[runs, bottom] - shift[bottom]) / scale[bottom], 0)
    width = above - below
    noise, gain = (ranges.rows * width**2).sum() / (12 * 255**2), (scale**2 * size.squares).sum()
    pull = 2 * ranges.rows * width / (12 * 255**2) * gain
    slope = np.stack([2 * noise * scale**2 * size.squares, np.zeros_like(scale)])
    np.add.at(slope[0], top, -pull * above)
    np.add.at(slope[0], bottom, pull * below)
    np.add.at(slope[1], top, -pull * (above > 0))
    np.add.at(slope[1], bottom, pull * (below < 0))
    return float(noise * gain), slope


def _weight_error(
    ranges: Ranges, size: _Size, scale: np.ndarray, shift: np.ndarray
) -> tuple[float, np.ndarray]:
    rows = ranges.rows.sum()
    largest = (size.magnitude * scale.astype(np.float32)).argmax(axis=1)
    widest = size.magnitude[np.arange(len(largest)), largest] * scale[largest]
    noise = _COMPENSATED * widest**2 / (12 * 127**2)
    power = (ranges.squares - 2 * shift * ranges.total + rows * shift**2) / scale**2
    slope = np.stack(
        [-2 * noise.sum() * power, 2 * noise.sum() * (rows * shift - ranges.total) / scale]
    )
    np.add.at(slope[0], largest, 2 * noise * power.sum())
    return float(noise.sum() * power.sum()), slope
