"""Scales and shifts: never worse than leaving the channels as they are, and much better with
outliers.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxlift.compress.quantization.smoothing import Ranges, expected_error, fit, formula


def _runs(random: np.random.Generator, channels: int) -> list[np.ndarray]:
    return [random.normal(size=(9, channels)).astype(np.float32) for _ in range(6)]


def _measured_error(
    runs: list[np.ndarray], weight: np.ndarray, scale: np.ndarray, shift: np.ndarray
) -> float:
    """The squared error of the product when both sides are really rounded as int8 kernels do."""
    scaled = weight * scale[:, None]
    steps = np.abs(scaled).max(axis=0) / 127
    error = 0.0
    for run in runs:
        values = (run - shift) / scale
        step = (max(values.max(), 0) - min(values.min(), 0)) / 255
        product = (np.rint(values / step) * step) @ (np.rint(scaled / steps) * steps)
        error += float(np.square(product - values @ scaled).sum())
    return error


def test_outlier_channels_cost_a_fraction_after_fitting() -> None:
    random = np.random.default_rng(0)
    runs = [
        run * np.where(np.arange(48) == 5, 40, 1) + np.where(np.arange(48) == 5, 60, 0)
        for run in _runs(random, 48)
    ]
    weight = random.normal(size=(48, 24)).astype(np.float32)
    ranges = Ranges.of(runs)

    scaled, shifted = (fit(ranges, weight, shifted=choice) for choice in (False, True))

    plain = _measured_error(runs, weight, np.ones(48), np.zeros(48))
    assert _measured_error(runs, weight, scaled.scale, scaled.shift) < 0.2 * plain
    assert _measured_error(runs, weight, shifted.scale, shifted.shift) < 0.1 * plain


def test_the_error_is_the_expected_one() -> None:
    random = np.random.default_rng(0)
    runs, weight = _runs(random, 64), random.normal(size=(64, 32)).astype(np.float32)

    expected = expected_error(Ranges.of(runs), weight, np.ones(64), np.zeros(64))

    measured = _measured_error(runs, weight, np.ones(64), np.zeros(64))
    assert 0.6 < expected / measured < 1.2


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), channels=st.integers(2, 40), shifted=st.booleans())
def test_fitting_is_never_worse_than_the_formula_it_starts_from(
    seed: int, channels: int, shifted: bool
) -> None:
    random = np.random.default_rng(seed)
    runs = [run * random.lognormal(0, 2, channels) for run in _runs(random, channels)]
    weight, ranges = random.normal(size=(channels, 7)).astype(np.float32), Ranges.of(runs)

    found = fit(ranges, weight, shifted=shifted)

    if not shifted:
        assert found.error <= expected_error(
            ranges, weight, formula(ranges, weight, 0.8), np.zeros(channels)
        ) * (1 + 1e-9)
    assert np.isfinite(found.scale).all()
    assert (found.scale > 0).all()


def test_a_channel_of_zeros_keeps_its_scale() -> None:
    runs = [np.array([[0.0, 2.0], [0.0, -3.0]], np.float32)]
    weight = np.ones((2, 3), np.float32)

    scale = formula(Ranges.of(runs), weight, 0.5)

    np.testing.assert_allclose(scale, [1, np.sqrt(3)])
