"""What a model takes and gives, as onnxruntime states it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import onnx
import onnxruntime as ort

from onnxlift_runtime.errors import ConfigInvalid, DatatypeMismatch, ModelRefused
from onnxlift_runtime.manifest import TensorSpec
from onnxlift_runtime.tensors.datatypes import datatype_from_onnx

_FATAL_ONLY: Final = 4  # of onnxruntime's severities; what fails raises as well
_TOO_NEW: Final = re.compile(
    r"Opset (\d+) is under development.* for domain (\S+) is till opset (\d+)"
)
# What to do instead, by the beginning of onnxruntime's name of the type.
_WAYS_OUT: Final = {
    "seq(map(": "convert a scikit-learn model with options={'zipmap': False}",
    "map(": "convert a scikit-learn pipeline with the features as one tensor (initial_types=[('x', "
    "FloatTensorType([None, n]))]), not with DictVectorizer",
    "seq(": "let the exported function return tensors: stack the list (torch.stack, "
    "ConcatFromSequence with new_axis=1), or return its elements one by one",
    "optional(": "export it without the optional value: give the argument a default, so that the "
    "exporter leaves it out, or return a tensor in any case",
    "sparse_tensor(": "convert the input to dense arrays (scikit-learn: X.toarray())",
    "": "export it with tensors alone",
}
_ORIGIN: Final = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed: ?)?")


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs; ``names`` holds the names of their dimensions, "" for one without.

    ``unranked`` are the outputs of which the model does not say how many dimensions they have.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unranked: frozenset[str] = frozenset()


def read_signature(path: Path) -> Signature:
    """Open a model and read its signature; raises ``ModelRefused`` where it does not load or cannot
    be served.
    """
    return signature_of(open_session(path), path)


def open_session(path: Path) -> Any:
    """A session of the model as it is, for looking at it; raises ``ModelRefused`` where it does not
    load.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class below Exception
        raise ModelRefused(
            f"onnxruntime {ort.__version__} cannot load the model: {load_failure(error)}"
        ) from error


def signature_of(session: Any, path: Path) -> Signature:
    """The signature of an open model; raises ``ModelRefused`` for what cannot be served."""
    inputs = tuple(_spec(item, "input") for item in session.get_inputs())
    outputs = tuple(_spec(item, "output") for item in session.get_outputs())
    if not inputs:
        raise ModelRefused("the model has no input")
    names = {
        item.name: tuple(size if isinstance(size, str) else "" for size in item.shape)
        for item in (*session.get_inputs(), *session.get_outputs())
    }
    flat = {spec.name for spec in (*inputs, *outputs) if not spec.shape}
    unranked = _unranked(path) & flat if flat else frozenset()
    if unknown := [spec.name for spec in inputs if spec.name in unranked]:
        raise ModelRefused(
            f"input {unknown[0]!r} does not say how many dimensions it has; export the model with "
            f"the shapes of its inputs"
        )
    return Signature(inputs, outputs, names, unranked)


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
    # onnxruntime gives a variable dimension's name, or None, in place of its size.
    shape = tuple(size if isinstance(size, int) else -1 for size in item.shape)
    return TensorSpec(item.name, name, shape)


def _why_not(kind: str, error: DatatypeMismatch) -> str:
    if kind.startswith("tensor("):
        return str(error)
    advice = next(way for start, way in _WAYS_OUT.items() if kind.startswith(start))
    return f"inputs and outputs must be tensors; {advice}"


def _unranked(path: Path) -> frozenset[str]:
    """The inputs and outputs whose number of dimensions the file leaves open."""
    graph = onnx.load(path, load_external_data=False).graph
    values = (*graph.input, *graph.output)
    return frozenset(item.name for item in values if not item.type.tensor_type.HasField("shape"))
