"""What flows through a graph on the calibration samples: inner values, sample by sample."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort

from onnxlift.columns import Column, Columns
from onnxlift_runtime.errors import SamplesInvalid

MASK: Final = "attention_mask"
_ROWS: Final = 32  # a run's inner values must fit into memory


def observe(
    model: onnx.ModelProto, names: Sequence[str], samples: Mapping[str, Column]
) -> Iterator[dict[str, np.ndarray]]:
    """Run the samples and yield the named inner values of each run.

    Text models run one sample at a time without its padding, because an int8 range is taken per run
    and padding would widen it. Raises ``SamplesInvalid`` when there are no samples.
    """
    session = ort.InferenceSession(_exposed(model, names).SerializeToString(), _options())
    for feed in feeds(model, samples):
        yield dict(zip(names, session.run(list(names), feed), strict=True))


def feeds(
    model: onnx.ModelProto,
    samples: Mapping[str, Column],
    rows: int | None = None,
    *,
    trimmed: bool = True,
) -> Iterator[dict[str, np.ndarray]]:
    """Cut the samples into the runs that the model takes: its fixed batch, else ``rows``, else one
    for text or 32; one sample where it has no batch.

    The last run may be smaller, except for a fixed batch. Plain arrays have their rows in dimension
    0. ``trimmed`` leaves out the columns of text that no row attends to.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    missing = [value.name for value in inputs if value.name not in samples]
    if missing or not inputs:
        raise SamplesInvalid(
            f"this step needs calibration samples for input {missing[0]!r}; there are none"
        )
    names = [value.name for value in inputs]
    columns = samples if isinstance(samples, Columns) else _plain(inputs[0], samples)
    columns = Columns({name: columns[name] for name in names}, columns.axes, columns.fixed)
    for index in columns.runs(rows or (1 if MASK in names else _ROWS)):
        feed = columns.feed(index)
        yield unpadded(feed) if trimmed else feed


def _plain(first: onnx.ValueInfoProto, samples: Mapping[str, Column]) -> Columns:
    dims = first.type.tensor_type.shape.dim
    return Columns(samples, dict.fromkeys(samples, 0), dims[0].dim_value if dims else 0)


def unpadded(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Cut the columns no row attends to from every input as wide as ``attention_mask``."""
    mask = feed.get(MASK)
    if mask is None or not (width := _attended_width(mask)):
        return dict(feed)
    return {
        name: value[:, :width] if value.shape[:2] == mask.shape else value
        for name, value in feed.items()
    }


def _attended_width(mask: np.ndarray) -> int:
    """The columns up to the last one that a row attends to; 0 where the mask tells of none."""
    attended = np.flatnonzero(mask.any(axis=0)) if mask.ndim == 2 else np.empty(0)
    return int(attended[-1]) + 1 if len(attended) else 0


def _exposed(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return exposed


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Several candidates run at once; threads that wait by spinning would take the processors from
    # each other.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
