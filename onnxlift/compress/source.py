"""Read a model file that may be broken, foreign or hostile: nothing outside its folder is opened for it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, Final, TypeVar

import onnx
import onnx.inliner
from onnx.external_data_helper import load_external_data_for_model

from onnxlift_runtime.errors import ModelRefused

DOMAINS: Final = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
_FOREIGN: Final = {
    b"PK\x03\x04": "a zip archive, such as PyTorch or Keras write",
    b"\x89HDF": "an HDF5 file, such as Keras writes",
    b"\x80\x04": "a Python pickle",
    b"\x80\x02": "a Python pickle",
    b"ORTM": "a model in ORT format",
}

M = TypeVar("M")


@dataclass(frozen=True)
class SourceModel:
    """A checked fp32 model with all its weights in memory, and the digest and size of the files it came from."""

    path: Path
    proto: onnx.ModelProto
    sha256: str
    size_bytes: int
    self_contained: bool


def read_source(path: Path) -> SourceModel:
    """Read and check an ONNX file; raises ``ModelRefused`` with one line that says why.

    Weights beside the file are loaded only from plain files within its folder (CVE-2022-25882, CVE-2024-27318 were
    models whose weights climbed out of it). Operators must come from ai.onnx, ai.onnx.ml or com.microsoft; functions
    that the model brings along are put in place of their calls.
    """
    content = _content(path)
    proto = _parsed(path, content)
    beside = sorted(
        {_checked_location(path, tensor) for tensor in walk(proto, onnx.TensorProto) if _is_external(tensor)}
    )
    _check_operators(path, proto)
    try:
        load_external_data_for_model(proto, str(path.parent))
        inlined = onnx.inliner.inline_local_functions(proto) if proto.functions else proto
        onnx.checker.check_model(inlined if inlined.ByteSize() < onnx.checker.MAXIMUM_PROTOBUF else str(path))
    except Exception as error:  # onnx's checker, loader and inliner share no error class
        raise ModelRefused(f"{path} is not a valid model: {_first_line(error)}") from error
    digest = hashlib.sha256(content)
    for data in beside:
        with data.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    size_bytes = len(content) + sum(data.stat().st_size for data in beside)
    return SourceModel(path, inlined, digest.hexdigest(), size_bytes, not beside and inlined is proto)


def opset(proto: onnx.ModelProto) -> int:
    """The version of ai.onnx that a model asks for; 1 where it asks for none."""
    return next((int(item.version) for item in proto.opset_import if item.domain in ("", "ai.onnx")), 1)


def walk(message: Any, kind: type[M]) -> Iterator[M]:
    """Every protobuf message of one kind inside another, wherever it hides: subgraphs, functions, attributes."""
    if isinstance(message, kind):
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in (value,) if hasattr(value, "ListFields") else value:
                yield from walk(inner, kind)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelRefused(f"{path} cannot be read: {error.strerror or error}") from error
    if not content:
        raise ModelRefused(f"{path} is empty, an ONNX model was expected")
    for magic, kind in _FOREIGN.items():
        if content.startswith(magic):
            raise ModelRefused(f"{path} is {kind}; export it to ONNX first")
    return content


def _parsed(path: Path, content: bytes) -> onnx.ModelProto:
    try:
        proto = onnx.ModelProto()
        proto.ParseFromString(content)
    except Exception as error:  # protobuf's DecodeError, whose package is onnx's dependency and not ours
        raise ModelRefused(f"{path} is not an ONNX model, or only a part of one") from error
    if not proto.graph.node or not proto.opset_import:
        raise ModelRefused(f"{path} holds no graph; an ONNX model was expected")
    return proto


def _check_operators(path: Path, proto: onnx.ModelProto) -> None:
    own = {(function.domain, function.name) for function in proto.functions}
    for node in walk(proto, onnx.NodeProto):
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in own:
            raise ModelRefused(
                f"{path} uses operator {node.op_type!r} of domain {node.domain!r}; "
                "only ai.onnx, ai.onnx.ml and com.microsoft are served"
            )


def _is_external(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def _checked_location(path: Path, tensor: onnx.TensorProto) -> Path:
    """The data file of one tensor, known to be a plain file inside the model's folder that holds all its bytes."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    parts = PureWindowsPath(location).parts  # understands both kinds of slashes, and drives
    if not parts or PureWindowsPath(location).anchor or ".." in parts or "\0" in location:
        raise _misplaced(path, tensor, location, "leaves the model's folder")
    data = path.parent
    for part in parts:
        data /= part
        if data.is_symlink():
            raise _misplaced(path, tensor, location, "is a link")
    if not data.is_file():
        raise _misplaced(path, tensor, location, "is not a file")
    if data.stat().st_nlink > 1:
        raise _misplaced(path, tensor, location, "is a link (the file has several names)")
    _check_range(path, tensor, entries, data)
    return data


def _check_range(path: Path, tensor: onnx.TensorProto, entries: dict[str, str], data: Path) -> None:
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or 0)
    except ValueError as error:
        raise _misplaced(path, tensor, data.name, "has an offset or length that is no number") from error
    if min(offset, length) < 0 or offset + length > data.stat().st_size:
        raise _misplaced(path, tensor, data.name, f"has no bytes {offset} to {offset + length}")


def _misplaced(path: Path, tensor: onnx.TensorProto, location: str, why: str) -> ModelRefused:
    return ModelRefused(f"{path} keeps the weights {tensor.name!r} in {location!r}, which {why}")


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
