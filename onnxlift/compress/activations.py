"""What flows through a graph on the calibration samples: inner values, sample by sample."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort

from onnxlift_runtime.errors import SamplesInvalid

MASK: Final = "attention_mask"
_ROWS: Final = 32
_GATHERED: Final = 2048


def observe(
    model: onnx.ModelProto, names: Sequence[str], samples: Mapping[str, np.ndarray]
) -> Iterator[dict[str, np.ndarray]]:
    """Run the samples and yield the named inner values of each run.

    Text models run one sample at a time without its padding, because an int8 range is taken per run and padding would
    widen it. Raises ``SamplesInvalid`` when there are no samples.
    """
    session = ort.InferenceSession(_exposed(model, names).SerializeToString(), _options())
    for feed in feeds(model, samples):
        yield dict(zip(names, session.run(list(names), feed), strict=True))


def feeds(model: onnx.ModelProto, samples: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Cut the samples into the runs that the model takes: its fixed batch, one for text, else 32 at a time."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    missing = [value.name for value in inputs if value.name not in samples]
    if missing or not inputs:
        raise SamplesInvalid(f"this step needs calibration samples for input {missing[0]!r}; there are none")
    names = [value.name for value in inputs]
    step = inputs[0].type.tensor_type.shape.dim[0].dim_value or (1 if MASK in names else _ROWS)
    count = len(samples[names[0]])
    for start in range(0, count - step + 1 if count >= step else 0, step):
        yield unpadded({name: samples[name][start : start + step] for name in names})
    if rest := count % step if step == _ROWS else 0:
        yield {name: samples[name][count - rest :] for name in names}


def unpadded(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Cut the columns no row attends to from every input as wide as ``attention_mask``."""
    mask = feed.get(MASK)
    if mask is None or mask.ndim != 2 or not mask.any():
        return dict(feed)
    last = int(np.flatnonzero(mask.any(axis=0))[-1]) + 1
    return {name: value[:, :last] if value.shape[:2] == mask.shape else value for name, value in feed.items()}


def _exposed(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return exposed


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Several candidates run at once; threads that wait by spinning would take the processors from each other.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def second_moments(
    model: onnx.ModelProto, names: Sequence[str], samples: Mapping[str, np.ndarray], *, int8_noise: bool = False
) -> dict[str, np.ndarray]:
    """``X.T @ X`` over all rows of each named value [..., channels], as float64 [channels, channels].

    ``int8_noise`` adds what rounding each run's values to 256 levels adds on average: step² / 12 for each row.
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
            rows = np.concatenate(self.rows).astype(np.float64)
            self.product = self.product + rows.T @ rows
            self.rows = []
