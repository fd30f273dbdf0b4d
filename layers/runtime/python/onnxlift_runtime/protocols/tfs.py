"""TensorFlow Serving's REST API: predict (row and column), classify and regress between JSON and
wire tensors.

Source: TensorFlow Serving's "RESTful API" document, and its json_tensor.cc where the document and
the server differ.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from onnxlift_runtime.catalog import SIGNATURE
from onnxlift_runtime.errors import InputMismatch, MalformedRequest, ShapeMismatch
from onnxlift_runtime.http.encoding import decode_json
from onnxlift_runtime.manifest import Manifest, TensorSpec
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors.rows import require_rows
from onnxlift_runtime.tensors.wire import (
    WireTensor,
    check_batch,
    check_input,
    check_names,
    expect,
    expect_mapping,
    nested_shape,
    specs_by_name,
)

_PATH: Final = re.compile(
    r"(?i)/v1/models/(?P<model>[^/:]*)(?:/versions/(?P<version>[0-9]+))?"
    r"(?:/labels/(?P<label>[^/:]+))?"
    r"(?:(?P<metadata>/metadata)|:(?P<verb>predict|classify|regress))?"
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names: a model, at most one of version and label, and what to do with it."""

    model: str
    version: str | None
    label: str | None
    verb: str  # "predict", "classify", "regress", "metadata" or "status"


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """A predict request that fits its model; ``row`` says in which of the two layouts the answer
    goes back.
    """

    inputs: tuple[WireTensor, ...]
    row: bool


def decode_path(method: str, path: str) -> Target:
    """Read a decoded path below ``/v1/models``, in any case; raises ``MalformedRequest`` where the
    server does.
    """
    match = _PATH.fullmatch(path)
    if match is None or (match["version"] and match["label"]):
        raise MalformedRequest(f"Malformed request: {method} {path}")
    verb = "metadata" if match["metadata"] else (match["verb"] or "status").lower()
    if (method == "POST") != (verb in {"predict", "classify", "regress"}):
        raise MalformedRequest(f"Malformed request: {method} {path}")
    if not match["model"]:
        raise MalformedRequest("Missing model name in request.")
    return Target(match["model"], match["version"], match["label"], verb)


def decode_predict(body: bytes, manifest: Manifest, limits: Limits) -> PredictRequest:
    """Read a predict request in row (``instances``) or column (``inputs``) layout and check it
    against the model.
    """
    document = _decode_document(body, limits)
    if ("instances" in document) == ("inputs" in document):
        raise MalformedRequest(
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
        )
    row = "instances" in document
    columns = (
        _from_rows(document["instances"], manifest)
        if row
        else _from_columns(document["inputs"], manifest)
    )
    return PredictRequest(_to_wire(columns, manifest, limits), row)


def encode_predict(outputs: Sequence[WireTensor], *, row: bool) -> dict[str, Any]:
    """The answer to a predict request in its layout; ``data`` are nested lists or arrays. Raises
    ``ShapeMismatch``.
    """
    columns = {tensor.name: _encode_bytes(tensor) for tensor in outputs}
    only = next(iter(columns.values())) if len(columns) == 1 else None
    if not row:
        return {"outputs": columns if only is None else only}
    count = _batch_of(outputs)
    if only is not None:
        return {"predictions": only}
    return {
        "predictions": [
            {name: data[index] for name, data in columns.items()} for index in range(count)
        ]
    }


def decode_examples(body: bytes, manifest: Manifest, limits: Limits) -> tuple[WireTensor, ...]:
    """Read the examples of a classify or regress request, each feature an input of the model."""
    require_rows(manifest, "use :predict in column format ('inputs')")
    document = _decode_document(body, limits)
    context = expect_mapping(document.get("context", {}), "'context'")
    examples = [
        expect_mapping(item, "an example")
        for item in _non_empty(document.get("examples"), "'examples'")
    ]
    for example in examples:
        if repeated := sorted(set(context) & set(example)):
            raise MalformedRequest(
                f"feature {repeated[0]!r} is in 'context' and in an example, expected in one of "
                f"them"
            )
        check_names([*context, *example], manifest)
    columns = {
        spec.name: _stack_features(
            [{**context, **example}[spec.name] for example in examples], spec
        )
        for spec in manifest.inputs
    }
    return _to_wire(columns, manifest, limits)


def _decode_document(body: bytes, limits: Limits) -> Mapping[str, Any]:
    parsed = decode_json(body, allow_nan=True, max_bytes=limits.max_json_bytes)
    document = expect_mapping(parsed, "the request")
    signature = expect(document.get("signature_name", SIGNATURE), str, "'signature_name'")
    if signature not in {"", SIGNATURE}:
        raise MalformedRequest(
            f'Serving signature key "{signature}" not found; the model has "{SIGNATURE}"'
        )
    return document


def _non_empty(value: Any, what: str) -> list[Any]:
    items: list[Any] = expect(value, list, what)
    if not items:
        raise MalformedRequest(f"{what} is empty, expected at least one element")
    return items


def _from_rows(instances: Any, manifest: Manifest) -> dict[str, Any]:
    require_rows(manifest, "ask in column format ('inputs')")
    rows = _non_empty(instances, "'instances'")
    named = [_is_named(row) for row in rows]
    if not any(named):
        return {_only_input(manifest).name: rows}
    if not all(named):
        raise MalformedRequest(
            "'instances' mixes named and plain values, expected one of both kinds"
        )
    for row in rows:
        check_names(list(row), manifest)
    return {spec.name: [row[spec.name] for row in rows] for spec in manifest.inputs}


def _from_columns(inputs: Any, manifest: Manifest) -> dict[str, Any]:
    if not _is_named(inputs):
        return {_only_input(manifest).name: inputs}
    check_names(list(inputs), manifest)
    return dict(inputs)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_b64(value)


def _is_b64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _only_input(manifest: Manifest) -> TensorSpec:
    if len(manifest.inputs) != 1:
        names = ", ".join(repr(spec.name) for spec in manifest.inputs)
        raise InputMismatch(
            f"model {manifest.name!r} has several inputs, expected an object with: {names}"
        )
    return manifest.inputs[0]


def _to_wire(
    columns: Mapping[str, Any], manifest: Manifest, limits: Limits
) -> tuple[WireTensor, ...]:
    specs = specs_by_name(manifest)
    tensors = []
    for name, column in columns.items():
        spec = specs[name]
        value = (
            _decode_b64(column, name, limits.max_dimensions) if spec.datatype == "BYTES" else column
        )
        shape = _shape_of(value, spec)
        tensor = WireTensor(
            name, spec.datatype, shape, value if isinstance(value, list) else [value]
        )
        check_input(tensor, spec, manifest, limits)
        tensors.append(tensor)
    check_batch(tensors, manifest)
    return tuple(tensors)


def _shape_of(value: Any, spec: TensorSpec) -> tuple[int, ...]:
    """The shape of nested lists; what lies below an empty list is what the input declares."""
    shape = nested_shape(value)
    below = spec.shape[len(shape) :] if shape[-1:] == (0,) else ()
    return (*shape, *(max(size, 0) for size in below))


def _decode_b64(value: Any, name: str, depth: int) -> Any:
    """``value`` with every ``{"b64": …}`` down to ``depth`` replaced by the bytes it stands for."""
    if isinstance(value, list) and depth:
        return [_decode_b64(item, name, depth - 1) for item in value]
    if not _is_b64(value):
        return value
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedRequest(f"input {name!r} has a 'b64' that is not base64: {error}") from error


def _stack_features(values: list[Any], spec: TensorSpec) -> list[Any]:
    """One feature of all examples as nested lists; a flat feature takes the shape that the input
    declares.
    """
    return [_shape_feature(value if isinstance(value, list) else [value], spec) for value in values]


def _shape_feature(value: list[Any], spec: TensorSpec) -> Any:
    dims = list(spec.shape[1:])
    if not dims:
        return value[0] if len(value) == 1 else value
    if len(dims) == 1 or (value and isinstance(value[0], list)) or dims.count(-1) > 1:
        return value
    known = 1
    for size in dims:
        known *= 1 if size == -1 else size
    sizes = [len(value) // known if size == -1 and known else size for size in dims]
    for size in reversed(sizes[1:]):
        if not size or len(value) % size:
            raise ShapeMismatch(
                f"feature {spec.name!r} has {len(value)} values, the model takes {dims} for each "
                f"example"
            )
        value = [value[start : start + size] for start in range(0, len(value), size)]
    return value


def _batch_of(outputs: Sequence[WireTensor]) -> int:
    """The first dimension that all outputs share, in the server's words where they do not."""
    for tensor in outputs:
        if not tensor.shape:
            raise ShapeMismatch(
                f"Tensor name: {tensor.name} has no shape information; ask in column format "
                f"('inputs')"
            )
        if tensor.shape[0] != outputs[0].shape[0]:
            raise ShapeMismatch(
                f"Tensor name: {tensor.name} has inconsistent batch size: {tensor.shape[0]} "
                f"expecting batch size: "
                f"{outputs[0].shape[0]}; ask in column format ('inputs')"
            )
    return outputs[0].shape[0]


def _encode_bytes(tensor: WireTensor) -> Any:
    """Text stays text; outputs whose name ends in ``_bytes`` become base64 objects."""
    return (
        _to_b64(tensor.data)
        if tensor.datatype == "BYTES" and tensor.name.endswith("_bytes")
        else tensor.data
    )


def _to_b64(value: Any) -> Any:
    if isinstance(value, list):
        return [_to_b64(item) for item in value]
    data = value if isinstance(value, bytes) else value.encode()
    return {"b64": base64.b64encode(data).decode("ascii")}
