"""Second moments of what flows into projections: what rounding their weights with compensation goes
by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

import numpy as np
import onnx

from onnxlift.compress.calibration.activations import observe
from onnxlift.compress.quantization.rounding import compensation

_GATHERED: Final = 2048  # rows: enough for a matrix product to run at full speed
_FACTORS: Final = 4  # are kept: weights that read the same value come one after the other


class Moments:
    """The second moments of a model's inner values on samples, and their ``compensation``, found
    when first asked for.

    ``int8_noise`` as in ``second_moments``. Several threads may ask.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        values: Sequence[str],
        samples: Mapping[str, np.ndarray],
        *,
        int8_noise: bool,
    ) -> None:
        self._model, self._values, self._samples = model, values, samples
        self._int8_noise = int8_noise
        self._moments: dict[str, np.ndarray] = {}
        self._factors: dict[str, np.ndarray] = {}
        # Held while a value is computed: a second thread that asks waits, and does not compute it
        # again.
        self._lock = Lock()

    def of(self, value: str) -> tuple[np.ndarray, np.ndarray]:
        """The moment [channels, channels] of one of the values and its ``compensation``; raises as
        ``observe`` does.
        """
        with self._lock:
            if not self._moments:
                found = second_moments(
                    self._model, self._values, self._samples, int8_noise=self._int8_noise
                )
                self._moments.update(found)
            if value not in self._factors:
                self._factors = dict(list(self._factors.items())[1 - _FACTORS :])
                self._factors[value] = compensation(self._moments[value])
            return self._moments[value], self._factors[value]


def second_moments(
    model: onnx.ModelProto,
    names: Sequence[str],
    samples: Mapping[str, np.ndarray],
    *,
    int8_noise: bool = False,
) -> dict[str, np.ndarray]:
    """``X.T @ X`` over all rows of each named value [..., channels], as float64 [channels,
    channels].

    ``int8_noise`` adds what rounding each run's values to 256 levels adds on average: step² / 12
    for each row.
    """
    found = {name: _Moment() for name in names}
    for seen in observe(model, names, samples):
        for name, array in seen.items():
            found[name].take(array.reshape(-1, array.shape[-1]), int8_noise)
    return {name: moment.total() for name, moment in found.items()}


@dataclass
class _Moment:
    """Gathers rows until a product of them is worth its call."""

    rows: list[np.ndarray] = field(default_factory=list)
    product: np.ndarray | float = 0.0
    noise: float = 0.0

    def take(self, rows: np.ndarray, int8_noise: bool) -> None:
        if int8_noise:
            step = (max(rows.max(initial=0), 0) - min(rows.min(initial=0), 0)) / 255
            self.noise += len(rows) * float(step) ** 2 / 12
        self.rows.append(rows)
        if sum(map(len, self.rows)) > _GATHERED:
            self._multiply()

    def total(self) -> np.ndarray:
        self._multiply()
        return self.product + self.noise * np.eye(len(self.product))  # type: ignore[arg-type]

    def _multiply(self) -> None:
        if self.rows:
            rows = np.concatenate(self.rows)
            self.product = self.product + (rows.T @ rows).astype(np.float64)
            self.rows = []
