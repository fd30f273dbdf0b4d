"""What may be done to a model's inputs so that requests of unequal lengths run together, and the
proof of it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort

from onnxlift import config
from onnxlift.compress.model.batch import Batch
from onnxlift.compress.model.reading import walk
from onnxlift.compress.model.samples import Array, Samples
from onnxlift.compress.model.signature import Signature
from onnxlift_runtime.errors import ConfigInvalid
from onnxlift_runtime.manifest import Manifest, Padding, TensorSpec
from onnxlift_runtime.tensors.datatypes import datatype

_SAMPLES: Final = 8  # each is run three times
_FILLING: Final = (1, 7)  # the columns added: the fewest, and several
# Of the largest value: products of another length are summed in another order.
_TOLERANCE: Final = 1e-3
_ERRORS_ONLY: Final = 3  # onnxruntime's severities: 2 is warning, 3 error
# Operators that take one scale from all rows of their input.
_WHOLE_BATCH: Final = "DynamicQuantize"
_SELECTING: Final = {"Compress", "NonMaxSuppression", "NonZero", "Unique"}


def padding_of(
    asked: config.Padding | None, signature: Signature, batch: Batch, where: str
) -> Padding | None:
    """What the manifest says about padding; raises ``ConfigInvalid`` where it does not fit the
    model's signature.
    """
    if asked is None:
        return None
    if not batch.max_batch_size:
        raise ConfigInvalid(f"{where}: the model has no free batch, so nothing runs together")
    inputs = {spec.name: spec for spec in signature.inputs}
    outputs = {spec.name: spec for spec in signature.outputs}
    for name, value in asked.inputs.items():
        spec = _require_length(inputs, name, asked.axis, f"{where}.inputs")
        _require_value(spec, value, f"{where}.inputs")
        _require_rows(spec, batch, asked.axis, f"{where}.inputs")
    for name in asked.outputs:
        _require_length(outputs, name, asked.axis, f"{where}.outputs")
    for name, spec in outputs.items():
        if name not in asked.outputs and _has_length(spec, asked.axis):
            raise ConfigInvalid(
                f"{where}.outputs: output {name!r} has a variable dimension {asked.axis} as well; "
                f"name it here"
            )
    return Padding(asked.axis, dict(asked.inputs), asked.outputs)


def require_harmless(model: Path, manifest: Manifest, samples: Samples, where: str) -> None:
    """Run some samples with and without padding; raises ``ConfigInvalid`` where the fp32 model's
    answers differ.
    """
    if manifest.padding is None:
        return
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in manifest.outputs]
    for row in range(min(len(samples), _SAMPLES)):
        arrays = next(samples.take([row]).batches(1))
        own = dict(zip(names, session.run(names, dict(arrays)), strict=True))
        for extra in _FILLING:
            found = _run_filled(session, _fill(arrays, manifest.padding, extra), extra, where)
            for name, padded in zip(names, found, strict=True):
                _require_same(own[name], _cut(padded, name, manifest.padding, extra), name, where)


def _run_filled(
    session: ort.InferenceSession, filled: dict[str, Array], extra: int, where: str
) -> list[Array]:
    try:
        found: list[Array] = session.run(None, filled)
    except Exception as error:  # onnxruntime's errors share no base class below Exception
        raise ConfigInvalid(
            f"{where}: the model does not run on held-out samples that are {extra} longer, so that "
            f"padding "
            f"cannot be tried; leave it out or take shorter samples: {' '.join(str(error).split())}"
        ) from error
    return found


def depends_on_neighbours(model: onnx.ModelProto) -> bool:
    """Whether an answer depends on the rows beside it, because a scale is taken from all of
    them.
    """
    return any(node.op_type.startswith(_WHOLE_BATCH) for node in walk(model, onnx.NodeProto))


def selects_rows(model: onnx.ModelProto) -> bool:
    """Whether values decide how many rows come out of an operator."""
    return any(node.op_type in _SELECTING for node in walk(model, onnx.NodeProto))


def _require_length(
    specs: Mapping[str, TensorSpec], name: str, axis: int, where: str
) -> TensorSpec:
    if name not in specs:
        raise ConfigInvalid(f"{where}: the model has no {name!r}; it has {', '.join(specs)}")
    if not _has_length(specs[name], axis):
        raise ConfigInvalid(
            f"{where}: {name!r} has shape {list(specs[name].shape)}, dimension {axis} must be "
            f"variable"
        )
    return specs[name]


def _has_length(spec: TensorSpec, axis: int) -> bool:
    return len(spec.shape) > axis and spec.shape[axis] == -1


def _require_rows(spec: TensorSpec, batch: Batch, axis: int, where: str) -> None:
    """Rows of their own, which are filled up on another dimension."""
    if batch.axis(spec.name) in {None, axis}:
        place = "has no batch" if batch.axis(spec.name) is None else f"has its batch in {axis}"
        raise ConfigInvalid(f"{where}: {spec.name!r} {place}, so its rows cannot be filled up")


def _require_value(spec: TensorSpec, value: float, where: str) -> None:
    """The number must be one of the datatype's own; BF16, which numpy does not know, and text have
    none.
    """
    found = datatype(spec.datatype)
    match found.kind:
        case "float" if found.name != "BF16":
            fits = abs(value) <= float(np.finfo(found.numpy).max)
        case "int" | "uint":
            smallest, largest = found.integer_range
            fits = value.is_integer() and smallest <= value <= largest
        case "bool":
            fits = value in (0, 1)
        case _:
            fits = False
    if not fits:
        raise ConfigInvalid(
            f"{where}: {spec.name!r} is {spec.datatype}, which cannot be filled with {value:g}"
        )


def _fill(arrays: Mapping[str, Array], padding: Padding, extra: int) -> dict[str, Array]:
    filled = dict(arrays)
    for name, value in padding.inputs.items():
        widths = [(0, extra if axis == padding.axis else 0) for axis in range(arrays[name].ndim)]
        filled[name] = np.pad(arrays[name], widths, constant_values=value)
    return filled


def _cut(answer: Array, name: str, padding: Padding, extra: int) -> Array:
    if name not in padding.outputs:
        return answer
    return answer[(slice(None),) * padding.axis + (slice(-extra),)]


def _require_same(own: Array, padded: Array, name: str, where: str) -> None:
    message = f"{where}: output {name!r} is not the same with padding"
    if own.shape != padded.shape:
        raise ConfigInvalid(
            f"{message}: its shape is {list(padded.shape)} instead of {list(own.shape)}; leave "
            f"padding out"
        )
    if own.dtype.kind == "f":
        off = float(np.abs(padded - own).max(initial=0.0))
        same = off <= _TOLERANCE * max(1.0, float(np.abs(own).max(initial=0.0)))
        error = f"{off:.3g} off"
    else:
        same, error = bool((own == padded).all()), "other values"
    if not same:
        raise ConfigInvalid(
            f"{message}: {error}; the model looks at what fills it up, so leave padding out"
        )
