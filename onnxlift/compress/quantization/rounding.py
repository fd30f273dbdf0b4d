"""Rounding a matrix to a grid of whole numbers so that its product with typical inputs changes
least.

Frantar et al., "GPTQ", ICLR 2023 (arXiv 2210.17323): rows are rounded one after another, and what
rounding one row adds to the output is taken back by the rows still to come. ``moment`` is the
second moment of the inputs, ``X.T @ X``.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

# Rows whose errors are passed on together: a matrix product instead of a row at a time.
_BLOCK: Final = 64
_DAMPING: Final = 0.01  # GPTQ's, of the mean diagonal

Round: TypeAlias = Callable[[int, np.ndarray], np.ndarray]
"""Takes a row's index and its values [outputs]; returns the nearest values on the grid."""


def compensate(weight: np.ndarray, factor: np.ndarray, round_row: Round) -> np.ndarray:
    """Round ``weight`` [inputs, outputs] row by row with compensation; returns values on the grid.

    ``factor`` [inputs, inputs] is ``compensation(moment)``, made once for all weights that read the
    same input.
    """
    left = np.array(weight, np.float64)
    rounded = np.zeros_like(left)
    for start in range(0, len(left), _BLOCK):
        stop = min(start + _BLOCK, len(left))
        errors = np.zeros((stop - start, left.shape[1]))
        for row in range(start, stop):
            rounded[row] = round_row(row, left[row])
            errors[row - start] = (left[row] - rounded[row]) / factor[row, row]
            left[row + 1 : stop] -= np.outer(factor[row, row + 1 : stop], errors[row - start])
        left[stop:] -= factor[start:stop, stop:].T @ errors
    return rounded


def compensation(moment: np.ndarray) -> np.ndarray:
    """The upper Cholesky factor of the inverse of the damped moment [inputs, inputs].

    A channel that never carries a value gets an entry of its own: any weight there gives the same
    output.
    """
    damped = np.array(moment, np.float64)
    dead = np.diag(damped) == 0
    damped[dead, dead] = 1
    if not dead.all():
        damped[np.diag_indices_from(damped)] += _DAMPING * np.diag(damped)[~dead].mean()
    # Upwards from the last input, so that one Cholesky factor and its inverse do instead of an
    # inverse and its factor.
    lower = np.linalg.cholesky(np.ascontiguousarray(damped[::-1, ::-1]))
    return np.ascontiguousarray(_inverse(lower)[::-1, ::-1])


def _inverse(lower: np.ndarray) -> np.ndarray:
    """The inverse of a lower triangular matrix, half by half; numpy's own takes it for a full
    one.
    """
    if len(lower) <= _BLOCK:
        return np.tril(np.linalg.inv(lower))
    half = len(lower) // 2
    first, last = _inverse(lower[:half, :half]), _inverse(lower[half:, half:])
    found = np.zeros_like(lower)
    found[:half, :half], found[half:, half:] = first, last
    found[half:, :half] = -last @ (lower[half:, :half] @ first)
    return found
