"""Numbers in small blocks with one scale each: how MatMulNBits and GatherBlockQuantized store 2, 4
and 8 bits.

A value is ``(whole - zero) * scale`` with ``whole`` from 0 to ``2**bits - 1``. A symmetric grid has
its zero in the middle and may have a negative scale, so that the one value more on its low side
falls where the block reaches further.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

Fit: TypeAlias = Literal["nearest", "searched", "hqq"]

_CHUNK: Final = 2048  # rows at a time: each try holds several copies of them
# Shares of a block's range that are tried after the whole: cutting off a block's largest values may
# pay where the others then lie closer together.
_SHRINKS: Final = (0.93, 0.86, 0.79, 0.72, 0.65)
# The authors' settings: iterations, the norm's power, the penalty and its growth.
_HQQ_STEPS: Final = 20
_HQQ_POWER: Final = 0.7
_HQQ_PENALTY: Final = 10.0
_HQQ_GROWTH: Final = 1.01

_Found: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Whole numbers [rows, blocks, block], scales and zeros [rows, blocks]."""


@dataclass(frozen=True)
class Grid:
    """How a matrix [rows, columns] is cut and stored."""

    bits: int
    block: int
    symmetric: bool = True
    scale_type: type[np.floating] = np.float32

    @property
    def top(self) -> int:
        """The largest whole number."""
        return int(2**self.bits - 1)

    @property
    def middle(self) -> int:
        """The zero point of a symmetric grid."""
        return int(2 ** (self.bits - 1))

    @property
    def kept_share(self) -> float:
        """The share of a float32 matrix's bytes that is left, its scales and zeros included."""
        scale_bits = np.dtype(self.scale_type).itemsize * 8
        zero_bits = 0 if self.symmetric else self.bits
        return (self.bits + scale_bits / self.block + zero_bits / self.block) / 32


@dataclass(frozen=True)
class Blocks:
    """A stored matrix: ``whole`` uint8 [rows, columns padded to blocks], ``scale`` and ``zero``
    [rows, blocks].
    """

    whole: np.ndarray
    scale: np.ndarray
    zero: np.ndarray

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The three, in this order."""
        return self.whole, self.scale, self.zero

    def restore(self) -> np.ndarray:
        """The values [rows, padded columns], float32."""
        rows, blocks = self.scale.shape
        shaped = self.whole.reshape(rows, blocks, -1).astype(np.float32) - self.zero[..., None]
        values: np.ndarray = shaped * self.scale.astype(np.float32)[..., None]
        return values.reshape(rows, -1)


def cut(matrix: np.ndarray, block: int) -> np.ndarray:
    """The matrix as [rows, blocks, block], padded with zeros at the end of each row."""
    padding = -matrix.shape[1] % block
    padded: np.ndarray = np.pad(matrix, ((0, 0), (0, padding)))
    return padded.reshape(len(matrix), -1, block)


def quantize(
    matrix: np.ndarray, grid: Grid, fit: Fit = "searched", importance: np.ndarray | None = None
) -> Blocks:
    """Store ``matrix`` [rows, columns] on ``grid``; ``importance`` [columns] weighs the squared
    errors.

    "nearest" spans each block's range, "searched" tries smaller spans for the least error (as
    llama.cpp's k-quants do), "hqq" places the zero by half-quadratic splitting (Badri & Shaji,
    2023), less moved by single large errors.
    """
    weights = np.ones(matrix.shape[1]) if importance is None else importance
    weights = cut(weights[None].astype(np.float32), grid.block)
    blocks = cut(matrix.astype(np.float32), grid.block)
    parts = [
        _quantize(blocks[start : start + _CHUNK], grid, fit, weights)
        for start in range(0, len(blocks), _CHUNK)
    ]
    arrays = zip(*(part.arrays for part in parts), strict=True)
    return Blocks(*(np.concatenate(chunks) for chunks in arrays))


def pack(whole: np.ndarray, bits: int) -> np.ndarray:
    """Whole numbers uint8 [..., count] as bytes with the first number in the lowest bits; count is
    padded to a byte.
    """
    per_byte = 8 // bits
    padding = [(0, 0)] * (whole.ndim - 1) + [(0, -whole.shape[-1] % per_byte)]
    lanes = np.pad(whole, padding).reshape(*whole.shape[:-1], -1, per_byte)
    packed: np.ndarray = np.bitwise_or.reduce(
        lanes << (np.arange(per_byte, dtype=np.uint8) * np.uint8(bits)), axis=-1
    )
    return packed


def _quantize(blocks: np.ndarray, grid: Grid, fit: Fit, weights: np.ndarray) -> Blocks:
    best: _Found | None = None
    least = np.full(blocks.shape[:2], np.inf, np.float32)
    for low, high in _spans(blocks, grid, fit):
        found = _round(blocks, grid, *_grid(low, high, grid))
        if fit == "hqq" and not grid.symmetric:
            found = _move_zero(blocks, grid, found)
        error = (weights * (_restore(found) - blocks) ** 2).sum(axis=-1)
        best = found if best is None else _better(error < least, found, best)
        least = np.minimum(least, error)
    assert best is not None
    whole, scale, zero = best
    return Blocks(whole.reshape(len(whole), -1).astype(np.uint8), scale, zero.astype(np.uint8))


def _better(mask: np.ndarray, new: _Found, old: _Found) -> _Found:
    """Block by block the new where ``mask`` [rows, blocks] says so."""
    whole = np.where(mask[..., None], new[0], old[0])
    return whole, np.where(mask, new[1], old[1]), np.where(mask, new[2], old[2])


def _spans(blocks: np.ndarray, grid: Grid, fit: Fit) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The ranges to try for each block."""
    low, high = np.minimum(blocks.min(axis=-1), 0), np.maximum(blocks.max(axis=-1), 0)
    yield low, high
    for shrink in _SHRINKS if fit == "searched" else ():
        yield low * shrink, high * shrink
        if not grid.symmetric:
            yield low * shrink, high
            yield low, high * shrink


def _grid(low: np.ndarray, high: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero whose grid covers ``low`` to ``high``; a symmetric one may cut the shorter
    side.
    """
    if grid.symmetric:
        scale = np.where(-low >= high, -low, -high) / grid.middle
        zero = np.full_like(scale, grid.middle)
    else:
        scale = (high - low) / grid.top
        zero = np.rint(-low / np.where(scale == 0, 1, scale))
    tiny = np.abs(scale) < np.finfo(grid.scale_type).tiny
    return np.where(tiny, 1, scale).astype(grid.scale_type), np.clip(zero, 0, grid.top)


def _round(blocks: np.ndarray, grid: Grid, scale: np.ndarray, zero: np.ndarray) -> _Found:
    wide = scale.astype(np.float32)[..., None]
    return np.clip(np.rint(blocks / wide) + zero[..., None], 0, grid.top), scale, zero


def _restore(found: _Found) -> np.ndarray:
    whole, scale, zero = found
    values: np.ndarray = (whole - zero[..., None]) * scale.astype(np.float32)[..., None]
    return values


def _move_zero(blocks: np.ndarray, grid: Grid, found: _Found) -> _Found:
    """Half-quadratic splitting: shrink the error towards sparsity, then set the zero by the
    rest.
    """
    _, scale, zero = found
    wide, weight = scale.astype(np.float32)[..., None], np.float32(_HQQ_PENALTY)
    for _ in range(_HQQ_STEPS):
        whole = np.clip(np.rint(blocks / wide + zero[..., None]), 0, grid.top)
        error = blocks - (whole - zero[..., None]) * wide
        size = np.abs(error)
        threshold = np.maximum(size, 1e-8) ** (_HQQ_POWER - 1) / weight
        sparse = np.sign(error) * np.maximum(size - threshold, 0)
        zero = np.mean(whole - (blocks - sparse) / wide, axis=-1)
        weight *= np.float32(_HQQ_GROWTH)
    return _round(blocks, grid, scale, np.clip(np.rint(zero), 0, grid.top))
