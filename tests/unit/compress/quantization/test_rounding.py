"""Compensated rounding: on the grid, and nearer in output than rounding to nearest."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxlift.compress.quantization.rounding import compensate, compensation


def _whole(_row: int, values: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.rint(values)
    return rounded


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), inputs=st.integers(1, 90), outputs=st.integers(1, 12))
def test_every_value_is_on_the_grid_whatever_the_shape(
    seed: int, inputs: int, outputs: int
) -> None:
    random = np.random.default_rng(seed)
    weight, rows = random.normal(size=(inputs, outputs)) * 5, random.normal(size=(200, inputs))

    rounded = compensate(weight, compensation(rows.T @ rows), _whole)

    assert np.array_equal(rounded, np.rint(rounded))
    assert rounded.shape == weight.shape


def test_correlated_inputs_lose_less_than_by_rounding_to_nearest() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(500, 8)) @ random.normal(size=(8, 96)) + 0.05 * random.normal(
        size=(500, 96)
    )
    weight = random.normal(size=(96, 16)) * 3

    rounded = compensate(weight, compensation(rows.T @ rows), _whole)

    lost, nearest = (
        np.square(rows @ (weight - other)).mean() for other in (rounded, np.rint(weight))
    )
    assert lost < 0.3 * nearest


def test_channels_that_carry_nothing_are_rounded_to_nearest_and_spoil_nothing() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(50, 6))
    rows[:, 2] = 0

    rounded = compensate(random.normal(size=(6, 3)) * 4, compensation(rows.T @ rows), _whole)

    assert np.isfinite(rounded).all()


def test_inputs_that_are_all_zero_give_a_usable_factor() -> None:
    factor = compensation(np.zeros((4, 4)))

    np.testing.assert_array_equal(factor, np.eye(4))
