"""What a model takes and gives, as onnxruntime states it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnxruntime as ort

from onnxlift_runtime.errors import ConfigInvalid, DatatypeMismatch, ModelRefused
from onnxlift_runtime.manifest import TensorSpec
from onnxlift_runtime.tensors.datatypes import datatype_from_onnx

MAX_BATCH_SIZE: Final = 256
_ERRORS_ONLY: Final = 3  # onnxruntime's severities: 2 is warning, 3 error
_TOO_NEW: Final = re.compile(
    r"Opset (\d+) is under development.* for domain (\S+) is till opset (\d+)"
)
_ORIGIN: Final = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed: ?)?")


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs; ``batch`` is the fixed first dimension they share, or 0 where it is
    variable.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batch: int

    @property
    def max_batch_size(self) -> int:
        """What the manifest says: the most rows in one request, 0 where the first dimension is no
        free batch.
        """
        return 0 if self.batch else MAX_BATCH_SIZE


def read_signature(path: Path) -> Signature:
    """Open a model and read its signature; raises ``ModelRefused`` where it does not load or cannot
    be served.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class below Exception
        raise ModelRefused(
            f"onnxruntime {ort.__version__} cannot load the model: {load_failure(error)}"
        ) from error
    inputs = tuple(_spec(item, "input") for item in session.get_inputs())
    outputs = tuple(_spec(item, "output") for item in session.get_outputs())
    return Signature(inputs, outputs, _batch(inputs, outputs))


def load_failure(error: Exception) -> str:
    """onnxruntime's reason in one line, without the path that it begins with.

    Of an opset that it does not know it says more than helps.
    """
    words = " ".join(str(error).split())
    if found := _TOO_NEW.search(words):
        asked, domain, known = found.groups()
        return (
            f"it has opset {asked} of {domain}, supported are those up to {known}; export it "
            f"with one of them"
        )
    return _ORIGIN.sub("", words)


def with_classes(
    outputs: Sequence[TensorSpec], classes: Sequence[str], where: str
) -> tuple[TensorSpec, ...]:
    """Put class names on the outputs that have as many columns; raises ``ConfigInvalid`` where none
    has.
    """
    if not classes:
        return tuple(outputs)
    fits = [len(spec.shape) > 1 and spec.shape[-1] == len(classes) for spec in outputs]
    if not any(fits):
        shapes = ", ".join(f"{spec.name!r} {list(spec.shape)}" for spec in outputs)
        raise ConfigInvalid(
            f"{where}: has {len(classes)} names, no output has as many columns: {shapes}"
        )
    labels = tuple(classes)
    return tuple(
        TensorSpec(spec.name, spec.datatype, spec.shape, labels) if fit else spec
        for spec, fit in zip(outputs, fits, strict=True)
    )


def _spec(item: Any, role: str) -> TensorSpec:
    try:
        name = datatype_from_onnx(item.type).name
    except DatatypeMismatch as error:
        raise ModelRefused(
            f"{role} {item.name!r} is a {item.type}; {_why_not(item.type, error)}"
        ) from error
    if not item.shape:
        raise ModelRefused(
            f"{role} {item.name!r} has no dimensions; the first one must be the batch"
        )
    # onnxruntime gives a variable dimension's name, or None, in place of its size.
    shape = tuple(size if isinstance(size, int) else -1 for size in item.shape)
    return TensorSpec(item.name, name, shape)


def _why_not(kind: str, error: DatatypeMismatch) -> str:
    if kind.startswith("tensor("):
        return str(error)
    tensors_only = "inputs and outputs must be tensors"
    if kind.startswith("seq(map("):
        return f"{tensors_only}; convert a scikit-learn model with options={{'zipmap': False}}"
    return tensors_only


def _batch(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
    if not inputs:
        raise ModelRefused("the model has no input")
    specs = (*inputs, *outputs)
    firsts = {spec.shape[0] for spec in specs} - {-1}
    if len(firsts) > 1:
        shapes = ", ".join(f"{spec.name!r} {list(spec.shape)}" for spec in specs)
        raise ModelRefused(
            f"the first dimension must be the batch, the same everywhere; this model has {shapes}"
        )
    return next(iter(firsts), 0)
