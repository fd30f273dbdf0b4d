"""What a candidate no longer answers, although a metric over whole answers cannot see it.

An output may mix scales: a detector's boxes reach 320 and its scores 1, so scores that became zero
hardly change a cosine. Every channel is therefore compared with itself.
"""

from typing import Final

import numpy as np

from onnxlift.compress.gate.metrics import ranks
from onnxlift.compress.model.samples import Array

# A channel that moves by less than this share of its largest value counts as constant in fp32.
_STILL: Final = 0.01
# Likelihoods share one unit, so one that never gets as far as this says nothing by itself.
_UNLIKELY: Final = 0.05
# Below it neither the values nor their order follow the fp32 model's.
_LEAST_CORRELATION: Final = 0.5
_FEWEST_VALUES: Final = 8
_PLACES: Final = 4
_MOST_CHANNELS: Final = 512
_MOST_VALUES: Final = 2**22
_MOST_RANKED: Final = 4096


def lost_channel(reference: Array, answers: Array) -> str:
    """Say which channel varies in the fp32 model and is constant or unrelated in the candidate;
    empty where none is.

    Both are [samples, ...]. Up to three dimensions each axis but the first is taken for the
    channels in turn; with more of them the second or the last, whichever is shorter, because the
    others are places. Of a long axis 512 channels are looked at, evenly spread.
    """
    if reference.ndim < 2:
        return _lost(reference.reshape(-1, 1), answers.reshape(-1, 1))[1]
    axes = sorted({1, reference.ndim - 1}, key=lambda axis: reference.shape[axis])
    for axis in axes if reference.ndim < _PLACES else axes[:1]:
        place, why = _lost(_channels(reference, axis), _channels(answers, axis))
        if why:
            channel = _spread(reference.shape[axis], _MOST_CHANNELS)[place]
            return f"channel {channel} of axis {axis} {why}"
    return ""


def _channels(answers: Array, axis: int) -> Array:
    """Values [values, channels] of one axis, both evenly thinned."""
    values = np.moveaxis(answers, axis, -1).reshape(-1, answers.shape[axis])
    return values[:: -(-values.size // _MOST_VALUES) or 1, _spread(values.shape[1], _MOST_CHANNELS)]


def _spread(count: int, most: int) -> Array:
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def _lost(reference: Array, answers: Array) -> tuple[int, str]:
    """The first lost channel of [values, channels], and what happened to it."""
    if not len(reference):
        return 0, ""
    if reference.dtype.kind != "f":
        gone = (reference != reference[:1]).any(axis=0) & (answers == answers[:1]).all(axis=0)
        return _first(gone, reference, answers)
    before, after = (_finite(array) for array in (reference, answers))
    range_ = np.ptp(before, axis=0)
    varies = range_ > _STILL * np.abs(before).max(axis=0)
    if _are_likelihoods(before):
        varies &= range_ >= _UNLIKELY
    gone = varies & (np.ptp(after, axis=0) == 0)
    if gone.any() or len(before) < _FEWEST_VALUES:
        return _first(gone, before, after)
    for place in np.flatnonzero(varies & (_correlations(before, after) < _LEAST_CORRELATION)):
        picked = np.ix_(_spread(len(before), _MOST_RANKED), [place])
        found = float(_correlations(ranks(before[picked]), ranks(after[picked]))[0])
        if found < _LEAST_CORRELATION:
            return int(place), f"no longer follows fp32: rank correlation {found:.2f}"
    return 0, ""


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, 0).astype(np.float64)


def _first(gone: Array, before: Array, after: Array) -> tuple[int, str]:
    if not gone.any():
        return 0, ""
    place = int(np.argmax(gone))
    if before.dtype.kind != "f":
        return place, f"varies in fp32 and is {after[0, place]!s} everywhere"
    low, high, now = before[:, place].min(), before[:, place].max(), after[0, place]
    return place, f"goes from {low:.4g} to {high:.4g} in fp32 and is {now:.4g} everywhere"


def _are_likelihoods(values: Array) -> bool:
    """Whether all are between 0 and 1, as what a softmax or a sigmoid gives."""
    return bool(values.min() >= 0 and values.max() <= 1)


def _correlations(first: Array, second: Array) -> Array:
    """Pearson's correlation of each column; 0 where one does not vary."""
    first, second = (array - array.mean(axis=0) for array in (first, second))
    lengths = np.linalg.norm(first, axis=0) * np.linalg.norm(second, axis=0)
    products = np.einsum("ij,ij->j", first, second)
    return np.asarray(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0))
