"""Reconstruction: the weights that bring a changed layer nearest to what it gave before, by least
squares.

A layer's inputs are those it sees in the changed model, its targets what it gave in the original
one, so that each layer takes back what the layers before it lost. No gradients, no labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx

from onnxlift.compress.calibration.activations import observe
from onnxlift.compress.graph.layers import Layer, expose_rows
from onnxlift_runtime.errors import SamplesInvalid

# As GPTQ damps its Hessian, so that the inverse exists where samples are few or alike.
DAMPING: Final = 0.01
# Rows at a time, so that only these are copied as float64.
_CHUNK: Final = 4096


@dataclass(frozen=True)
class Statistics:
    """What least squares needs of rows X [rows, inputs] and targets T [rows, outputs], for each
    group, as float64.

    ``inputs`` is XᵀX [groups, inputs, inputs] and ``targets`` XᵀT [groups, inputs, outputs], around
    the means ``input_mean`` [groups, inputs] and ``target_mean`` [groups, outputs] where the layer
    has a bias to hold them, else around 0. ``energy`` is the sum of squares of T, around the same.
    """

    inputs: np.ndarray
    targets: np.ndarray
    input_mean: np.ndarray
    target_mean: np.ndarray
    energy: float

    def damped(self) -> np.ndarray:
        """``inputs`` with a share of its mean diagonal added, so that it can be inverted."""
        level = DAMPING * np.maximum(np.einsum("gii->gi", self.inputs).mean(axis=1), 1e-12)
        damped: np.ndarray = self.inputs + level[:, None, None] * np.eye(self.inputs.shape[1])
        return damped

    def anchored(self, weight: np.ndarray) -> np.ndarray:
        """The right side of the damped normal equations: what the samples do not tell stays as it
        is in ``weight``.
        """
        anchored: np.ndarray = self.targets + (self.damped() - self.inputs) @ weight
        return anchored

    def intercept(self, weight: np.ndarray) -> np.ndarray:
        """The bias [groups * outputs] that goes with a weight."""
        moved: np.ndarray = self.target_mean - np.einsum("gi,gio->go", self.input_mean, weight)
        return moved.reshape(-1)

    def error(self, weight: np.ndarray) -> float:
        """The squared error of the outputs as a share of their energy."""
        explained = 2 * np.sum(weight * self.targets) - np.sum(weight * (self.inputs @ weight))
        return float((self.energy - explained) / max(self.energy, 1e-30))


def gather(
    original: onnx.ModelProto,
    changed: onnx.ModelProto,
    pairs: Sequence[tuple[Layer, Layer]],
    samples: Mapping[str, np.ndarray],
) -> list[Statistics]:
    """Run both models on the samples: what each layer (as it was, as it is now) sees now and gave
    then.

    Raises ``SamplesInvalid`` when there are fewer samples than one run takes, and when they lead to
    infinite values.
    """
    first, then = expose_rows(original, [old for old, _ in pairs], "outputs")
    second, now = expose_rows(changed, [new for _, new in pairs], "inputs")
    sums = [_Sums(len(new.weight)) for _, new in pairs]
    wanted = observe(first, list(dict.fromkeys(then)), samples)
    seen = observe(second, list(dict.fromkeys(now)), samples)
    for outputs, inputs in zip(wanted, seen, strict=True):
        for total, output, value in zip(sums, then, now, strict=True):
            total.take(inputs[value], outputs[output])
    for total, (_, new) in zip(sums, pairs, strict=True):
        total.check(new.name)
    return [total.finish(new.bias is not None) for total, (_, new) in zip(sums, pairs, strict=True)]


class _Sums:
    """Adds up one layer's statistics run by run."""

    def __init__(self, groups: int) -> None:
        self._groups = groups
        self._rows = 0
        self._inputs: np.ndarray | float = 0.0
        self._targets: np.ndarray | float = 0.0
        self._input_sum: np.ndarray | float = 0.0
        self._target_sum: np.ndarray | float = 0.0
        self._squares: np.ndarray | float = 0.0

    def take(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        """Add rows [..., groups * inputs] with their targets [..., groups * outputs]."""
        rows, wanted = inputs.reshape(-1, inputs.shape[-1]), targets.reshape(-1, targets.shape[-1])
        self._rows += len(rows)
        for start in range(0, len(rows), _CHUNK):
            x, t = (self._grouped(array[start : start + _CHUNK]) for array in (rows, wanted))
            turned = x.transpose(0, 2, 1)
            self._inputs = self._inputs + turned @ x
            self._targets = self._targets + turned @ t
            self._input_sum = self._input_sum + x.sum(axis=1)
            self._target_sum = self._target_sum + t.sum(axis=1)
            self._squares = self._squares + np.square(t).sum(axis=1)

    def check(self, name: str) -> None:
        """Raise ``SamplesInvalid`` where nothing can be fitted to what was added up for the node
        ``name``.
        """
        if not self._rows:
            raise SamplesInvalid(
                "there are fewer calibration samples than one run of the model takes"
            )
        if not np.isfinite(self._inputs).all() or not np.isfinite(self._squares).all():
            raise SamplesInvalid(
                f"node {name!r} sees or gives infinite values on the calibration samples"
            )

    def finish(self, centred: bool) -> Statistics:
        """The sums, around the means or around 0."""
        x = np.asarray(self._input_sum) / self._rows * centred
        t = np.asarray(self._target_sum) / self._rows * centred
        inputs = self._inputs - self._rows * x[:, :, None] * x[:, None, :]
        targets = self._targets - self._rows * x[:, :, None] * t[:, None, :]
        return Statistics(inputs, targets, x, t, float(np.sum(self._squares - self._rows * t**2)))

    def _grouped(self, rows: np.ndarray) -> np.ndarray:
        """Rows [rows, groups * width] as float64 [groups, rows, width]."""
        parts: np.ndarray = (
            rows.astype(np.float64).reshape(len(rows), self._groups, -1).transpose(1, 0, 2)
        )
        return parts


def solve(statistics: Statistics, weight: np.ndarray, kept: np.ndarray | None = None) -> np.ndarray:
    """The weight nearest to the targets that is 0 where ``kept`` is false, all of shape [groups,
    inputs, outputs].

    ``weight`` is where it starts from: ridge regression towards it, not towards 0.
    """
    found = np.zeros(weight.shape)
    mask = np.ones(weight.shape, bool) if kept is None else kept
    system, right = statistics.damped(), statistics.anchored(weight)
    for group in range(len(weight)):
        for rows, columns in _supports(mask[group]):
            inner, wanted = system[group][np.ix_(rows, rows)], right[group][np.ix_(rows, columns)]
            found[group][np.ix_(rows, columns)] = np.linalg.solve(inner, wanted)
    return found


def _supports(kept: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The different sets of rows that columns of ``kept`` [inputs, outputs] keep, each with its
    columns.
    """
    columns: dict[bytes, list[int]] = {}
    for index in range(kept.shape[1]):
        columns.setdefault(kept[:, index].tobytes(), []).append(index)
    return [(np.flatnonzero(kept[:, found[0]]), np.array(found)) for found in columns.values()]
