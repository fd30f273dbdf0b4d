"""Block formats: what is stored is restored, within half a step, and packs as the kernels read
it.
"""

from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxlift.compress.quantization.blocks import Blocks, Fit, Grid, pack, quantize

FITS: Final[tuple[Fit, ...]] = ("nearest", "searched", "hqq")


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([2, 4, 8]),
    symmetric=st.booleans(),
    columns=st.integers(1, 70),
    fit=st.sampled_from(FITS),
)
def test_restored_values_are_within_the_range_and_near(
    seed: int, bits: int, symmetric: bool, columns: int, fit: Fit
) -> None:
    matrix = np.random.default_rng(seed).normal(size=(5, columns)).astype(np.float32)
    grid = Grid(bits, 16, symmetric)

    stored = quantize(matrix, grid, fit)

    restored = stored.restore()[:, :columns]
    steps = np.repeat(np.abs(stored.scale), 16, axis=1)[:, :columns]
    assert stored.whole.max() <= grid.top
    assert stored.zero.max() <= grid.top
    reach = 1.01 if fit == "nearest" else 2**bits
    assert (np.abs(restored - matrix) <= steps * reach).all()


@pytest.mark.parametrize(("symmetric", "share"), [(True, 0.99), (False, 0.95)])
def test_searching_loses_less_than_spanning_the_range(symmetric: bool, share: float) -> None:
    matrix = np.random.default_rng(0).standard_t(4, size=(64, 128)).astype(np.float32)
    grid = Grid(4, 32, symmetric)

    searched, nearest = (
        np.square(quantize(matrix, grid, fit).restore() - matrix).mean() for fit in FITS[1::-1]
    )

    assert searched < share * nearest


def test_important_columns_are_kept_nearer() -> None:
    matrix = np.random.default_rng(0).standard_t(3, size=(64, 32)).astype(np.float32)
    weights = np.where(np.arange(32) < 4, 100.0, 1.0)

    plain, weighed = (
        quantize(matrix, Grid(2, 32), "searched", given).restore() for given in (None, weights)
    )

    assert np.square(weighed - matrix)[:, :4].mean() < np.square(plain - matrix)[:, :4].mean()


def test_a_block_of_zeros_stays_zero() -> None:
    stored = quantize(np.zeros((2, 32), np.float32), Grid(4, 16))

    np.testing.assert_array_equal(stored.restore(), 0)


def test_zeros_stay_exact_in_every_block() -> None:
    matrix = np.random.default_rng(0).normal(2, 1, size=(8, 32)).astype(np.float32)
    matrix[:, ::5] = 0

    restored = quantize(matrix, Grid(4, 16, symmetric=False), "nearest").restore()

    np.testing.assert_array_equal(restored[:, ::5], 0)


@pytest.mark.parametrize(("bits", "packed"), [(8, [1, 2, 3]), (4, [0x21, 0x03]), (2, [0b00111001])])
def test_the_first_number_lies_in_the_lowest_bits(bits: int, packed: list[int]) -> None:
    found = pack(np.array([1, 2, 3], np.uint8), bits)

    np.testing.assert_array_equal(found, packed)


def test_restoring_subtracts_the_zero_of_each_block() -> None:
    blocks = Blocks(
        np.array([[0, 3, 5, 9]], np.uint8), np.array([[0.5, 2.0]]), np.array([[1, 5]], np.uint8)
    )

    np.testing.assert_array_equal(blocks.restore(), [[-0.5, 1.0, 0.0, 8.0]])


def test_what_is_left_of_a_matrix_counts_its_scales_and_zeros() -> None:
    assert Grid(8, 128).kept_share == (8 + 32 / 128) / 32
    assert Grid(4, 32, False, np.float16).kept_share == (4 + 16 / 32 + 4 / 32) / 32
