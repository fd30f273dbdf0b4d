"""The Open Inference Protocol, version 2: the bytes of a request as wire tensors.

Sources: the protocol's REST document, and Triton's extensions "binary tensor data",
"classification" and "parameters".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from onnxlift_runtime.errors import InputMismatch, MalformedRequest, ShapeMismatch
from onnxlift_runtime.http import message
from onnxlift_runtime.http.encoding import decode_json
from onnxlift_runtime.manifest import Manifest, TensorSpec
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors.datatypes import datatype
from onnxlift_runtime.tensors.wire import (
    WireTensor,
    check_batch,
    check_input,
    check_names,
    expect,
    expect_mapping,
    optional,
    specs_by_name,
)

HEADER_LENGTH: Final = message.HEADER_LENGTH
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
_DATA_FIELDS: Final = (
    "'data', 'binary_data_size' in 'parameters', 'shared_memory_region' in 'parameters'"
)


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """One output the caller asked for; ``classes`` above 0 asks for that many best classes instead
    of the tensor.
    """

    name: str
    binary: bool = False
    classes: int = 0


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request that fits its model, with tensors still as they travelled."""

    inputs: tuple[WireTensor, ...]
    outputs: tuple[WantedOutput, ...]
    id: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


def decode_infer(
    body: bytes, header_length: str | None, manifest: Manifest, limits: Limits
) -> InferRequest:
    """Read an inference request and check all of it against the model.

    ``header_length`` is the value of ``Inference-Header-Content-Length``: absent, the whole body is
    JSON; 0, the body is the one input's raw bytes. Raises ``MalformedRequest`` and the
    ``InputMismatch`` family.
    """
    json_length = _decode_header_length(header_length, len(body))
    if json_length == 0 and header_length is not None:
        return _decode_raw(body, manifest, limits)
    view = memoryview(body)
    document = expect_mapping(
        decode_json(view[:json_length], max_bytes=limits.max_json_bytes), "the request"
    )
    parameters = _decode_parameters(document, "the request")
    inputs = _decode_inputs(document, view[json_length:], manifest)
    specs = specs_by_name(manifest)
    for tensor in inputs:
        check_input(tensor, specs[tensor.name], manifest, limits)
    check_batch(inputs, manifest)
    binary = expect(parameters.get("binary_data_output", False), bool, "'binary_data_output'")
    return InferRequest(
        inputs=inputs,
        outputs=_decode_outputs(document, manifest, binary),
        id=expect(optional(document, "id", ""), str, "'id'"),
        parameters=parameters,
    )


def _decode_header_length(text: str | None, body_length: int) -> int:
    if text is None:
        return body_length
    if not _INTEGER.fullmatch(text):
        raise MalformedRequest(f"Unable to parse {HEADER_LENGTH}, got: {text[:40]}")
    length = int(text)
    if not 0 <= length <= body_length:
        raise MalformedRequest(
            f"inference header size should be in range (0, {body_length}), got: {length}"
        )
    return length


def _decode_raw(body: bytes, manifest: Manifest, limits: Limits) -> InferRequest:
    """The raw binary request: one input, batch 1, at most one variable dimension after it; outputs
    come back binary.
    """
    if len(manifest.inputs) != 1:
        raise MalformedRequest(
            f"a raw binary request needs a model with one input, {manifest.name!r} has "
            f"{len(manifest.inputs)}"
        )
    spec = manifest.inputs[0]
    data: bytes = body
    if spec.datatype == "BYTES":  # the body is the one element, without its length
        data = len(body).to_bytes(4, "little") + body
    tensor = WireTensor(
        spec.name, spec.datatype, _raw_shape(spec, manifest, len(body)), memoryview(data)
    )
    check_input(tensor, spec, manifest, limits)
    return InferRequest(
        (tensor,), tuple(WantedOutput(output.name, binary=True) for output in manifest.outputs)
    )


def _raw_shape(spec: TensorSpec, manifest: Manifest, size_bytes: int) -> tuple[int, ...]:
    batch = manifest.batch_axis(spec.name)
    shape = [1 if axis == batch else size for axis, size in enumerate(spec.shape)]
    variable = [index for index, size in enumerate(shape) if size == -1]
    if spec.datatype == "BYTES":
        shape = [1 if size == -1 else size for size in shape]
        if any(size != 1 for size in shape):
            raise MalformedRequest(
                f"a raw binary request needs input {spec.name!r} to hold one BYTES element"
            )
        return tuple(shape)
    if len(variable) > 1:
        raise MalformedRequest(
            f"input {spec.name!r} has {len(variable)} variable dimensions, a raw request can fill "
            f"one"
        )
    if variable:
        known_bytes = datatype(spec.datatype).size_bytes
        for size in shape:
            known_bytes *= 1 if size == -1 else size
        if not known_bytes or size_bytes % known_bytes:
            raise ShapeMismatch(
                f"input {spec.name!r} has {size_bytes} bytes of data, expected a multiple of "
                f"{known_bytes}"
            )
        shape[variable[0]] = size_bytes // known_bytes
    return tuple(shape)


def _decode_inputs(
    document: Mapping[str, Any], blobs: memoryview, manifest: Manifest
) -> tuple[WireTensor, ...]:
    entries = expect(document.get("inputs"), list, "'inputs'")
    names = [
        expect(expect_mapping(entry, "an input").get("name"), str, "an input's 'name'")
        for entry in entries
    ]
    check_names(names, manifest)
    tensors, offset = [], 0
    for entry, name in zip(entries, names, strict=True):
        size = _binary_size(entry, name)
        if size is not None and len(blobs) - offset < size:
            missing = size - (len(blobs) - offset)
            raise MalformedRequest(
                f"unexpected size for input '{name}', expecting {missing} additional bytes for "
                f"model '{manifest.name}'"
            )
        data = entry.get("data") if size is None else blobs[offset : offset + size]
        offset += size or 0
        tensors.append(_decode_input(entry, name, data))
    if offset != len(blobs):
        raise MalformedRequest(
            f"unexpected additional input data for model '{manifest.name}': {len(blobs) - offset} "
            f"bytes"
        )
    return tuple(tensors)


def _binary_size(entry: Mapping[str, Any], name: str) -> int | None:
    """``binary_data_size`` of an input, or None where its data is in the JSON; exactly one of both
    must be there.
    """
    parameters = _decode_parameters(entry, f"input {name!r}")
    given = [key for key in ("binary_data_size", "shared_memory_region") if key in parameters]
    count = len(given) + (entry.get("data") is not None)
    if count != 1:
        raise MalformedRequest(
            f"Input must set only one of the following fields: {_DATA_FIELDS}. But input {name!r} "
            f"set {count} of them"
        )
    if "shared_memory_region" in given:
        raise MalformedRequest(
            f"input {name!r} asks for shared memory, which this server does not have; send the data"
        )
    if not given:
        return None
    size: int = expect(parameters["binary_data_size"], int, f"'binary_data_size' of input {name!r}")
    if size < 0:
        raise MalformedRequest(
            f"'binary_data_size' of input {name!r} is {size}, expected 0 or more"
        )
    return size


def _decode_input(entry: Mapping[str, Any], name: str, data: Any) -> WireTensor:
    shape = expect(entry.get("shape"), list, f"'shape' of input {name!r}")
    for size in shape:
        if expect(size, int, f"a dimension of input {name!r}") < 0:
            raise MalformedRequest(f"a dimension of input {name!r} is {size}, expected 0 or more")
    wire_datatype = datatype(
        expect(entry.get("datatype"), str, f"'datatype' of input {name!r}")
    ).name
    if not isinstance(data, memoryview):
        expect(data, list, f"'data' of input {name!r}")
    return WireTensor(name, wire_datatype, tuple(shape), data)


def _decode_outputs(
    document: Mapping[str, Any], manifest: Manifest, binary: bool
) -> tuple[WantedOutput, ...]:
    known = [spec.name for spec in manifest.outputs]
    entries = expect(optional(document, "outputs", []), list, "'outputs'")
    if not entries:
        return tuple(WantedOutput(name, binary) for name in known)
    wanted = tuple(_decode_output(expect_mapping(entry, "an output"), binary) for entry in entries)
    names = [output.name for output in wanted]
    for name in names:
        if name not in known:
            raise InputMismatch(
                f"model {manifest.name!r} has no output {name!r}; its outputs: {', '.join(known)}"
            )
        if names.count(name) > 1:
            raise InputMismatch(
                f"output {name!r} is asked for {names.count(name)} times, expected once"
            )
    return wanted


def _decode_output(entry: Mapping[str, Any], binary: bool) -> WantedOutput:
    name = expect(entry.get("name"), str, "an output's 'name'")
    parameters = _decode_parameters(entry, f"output {name!r}")
    if "shared_memory_region" in parameters:
        raise MalformedRequest(
            f"output {name!r} asks for shared memory, which this server does not have"
        )
    classes = expect(
        parameters.get("classification", 0), int, f"'classification' of output {name!r}"
    )
    if classes < 0:
        raise MalformedRequest(
            f"'classification' of output {name!r} is {classes}, expected 0 or more"
        )
    wanted_binary = expect(
        parameters.get("binary_data", binary), bool, f"'binary_data' of output {name!r}"
    )
    return WantedOutput(name, wanted_binary, classes)


def _decode_parameters(entry: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    parameters = expect_mapping(optional(entry, "parameters", {}), f"'parameters' of {what}")
    given = {key: value for key, value in parameters.items() if value is not None}
    for key, value in given.items():
        expect(value, (str, int, float, bool), f"parameter {key!r} of {what}")
    return given
