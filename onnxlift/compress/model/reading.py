"""Read a model file that may be broken, foreign or hostile: nothing outside its folder is opened
for it.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PureWindowsPath
from typing import Any, Final, Literal, TypeVar

import onnx
import onnx.inliner
from onnx.external_data_helper import load_external_data_for_model

from onnxlift.compress.model.inventory import data_bytes
from onnxlift_runtime.errors import ModelRefused

DOMAINS: Final = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
_EXPORT: Final = "; export it to ONNX first"
_LFS_POINTER: Final = b"version https://git-lfs"
# By their first bytes and where those stand.
_FOREIGN: Final = {
    (0, b"PK\x03\x04"): f"a zip archive, such as PyTorch or Keras write{_EXPORT}",
    (0, b"\x89HDF"): f"an HDF5 file, such as Keras writes{_EXPORT}",
    (0, b"\x80\x04"): f"a Python pickle{_EXPORT}",
    (0, b"\x80\x02"): f"a Python pickle{_EXPORT}",
    (4, b"ORTM"): f"a model in ORT format{_EXPORT}",
    (4, b"TFL3"): f"a TensorFlow Lite model{_EXPORT}",
    (0, b"GGUF"): f"a model in GGUF format{_EXPORT}",
    (6, b'\0\0{"'): f"a safetensors file: weights without a graph{_EXPORT}",
    (0, _LFS_POINTER): "a pointer of Git LFS; fetch the file itself with `git lfs pull`",
    (0, b"\x1f\x8b"): "compressed with gzip; unpack it first",
    (0, b"<"): "a page or an XML file, perhaps a download that failed; an ONNX model was expected",
}

_HOLDS: Final[dict[str, Callable[[Any], bool]]] = {
    "message": lambda field: field.message_type is not None,
    "text": lambda field: field.type == field.TYPE_STRING,
}

M = TypeVar("M")


@dataclass(frozen=True)
class GraphFile:
    """A checked model as its file holds it, the files with weights beside it, and the size of all
    together.
    """

    path: Path
    proto: onnx.ModelProto
    beside: tuple[Path, ...]
    size_bytes: int


@dataclass(frozen=True)
class SourceModel:
    """A checked fp32 model with all its weights in memory, and the digest and size of the files it
    came from.
    """

    path: Path
    proto: onnx.ModelProto
    sha256: str
    size_bytes: int
    self_contained: bool


def read_source(path: Path) -> SourceModel:
    """Read and check an ONNX file with all its weights; raises ``ModelRefused`` with one line that
    says why.

    Functions that the model brings along are put in place of their calls.
    """
    content = _content(path)
    graph = _checked(path, content)
    try:
        load_external_data_for_model(graph.proto, str(path.parent))
        inlined = graph.proto
        if graph.proto.functions:
            inlined = onnx.inliner.inline_local_functions(graph.proto)
    except Exception as error:  # onnx's loader and inliner share no error class
        raise _invalid(path, error) from error
    digest = hashlib.sha256(content)
    for data in graph.beside:
        with data.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    own = not graph.beside and inlined is graph.proto
    return SourceModel(path, inlined, digest.hexdigest(), graph.size_bytes, own)


def read_graph(path: Path) -> GraphFile:
    """Read and check an ONNX file and leave what lies beside it there; raises ``ModelRefused`` as
    ``read_source``.

    Weights beside the file must be in plain files within its folder (CVE-2022-25882, CVE-2024-27318
    were models whose weights climbed out of it). Operators must come from ai.onnx, ai.onnx.ml or
    com.microsoft, or be the model's own.
    """
    return _checked(path, _content(path))


def opset(proto: onnx.ModelProto) -> int:
    """The version of ai.onnx that a model asks for; 1 where it asks for none."""
    return next(
        (int(item.version) for item in proto.opset_import if item.domain in ("", "ai.onnx")), 1
    )


def walk(message: Any, kind: type[M]) -> Iterator[M]:
    """Every protobuf message of one kind inside another, wherever it hides: subgraphs, functions,
    attributes.
    """
    return (item for item in _messages(message) if isinstance(item, kind))


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field in _fields(message.DESCRIPTOR, "message"):
        value = getattr(message, field)
        if not hasattr(value, "ListFields"):
            for inner in value:
                yield from _messages(inner)
        elif message.HasField(field):
            yield from _messages(value)


@cache
def _fields(descriptor: Any, kind: Literal["message", "text"]) -> tuple[str, ...]:
    """The fields that hold messages or text; the others may hold gigabytes, which are best not
    touched.
    """
    return tuple(field.name for field in descriptor.fields if _HOLDS[kind](field))


def _content(path: Path) -> bytes:
    try:
        if not path.is_dir() and path.exists() and not path.is_file():
            raise ModelRefused(f"{path} is a device or a pipe, an ONNX file was expected")
        if path.is_file() and path.stat().st_size > onnx.checker.MAXIMUM_PROTOBUF:
            raise ModelRefused(
                f"{path} is larger than the 2 GB of one protobuf file; export it with external data"
            )
        content = path.read_bytes()
    except OSError as error:
        raise ModelRefused(f"{path} cannot be read: {error.strerror or error}") from error
    if not content:
        raise ModelRefused(f"{path} is empty, an ONNX model was expected")
    for (start, magic), kind in _FOREIGN.items():
        if content.startswith(magic, start):
            raise ModelRefused(f"{path} is {kind}")
    return content


def _checked(path: Path, content: bytes) -> GraphFile:
    proto = _parsed(path, content)
    messages = list(_messages(proto))
    _check_text(path, messages)
    tensors = [item for item in messages if isinstance(item, onnx.TensorProto)]
    nodes = [item for item in messages if isinstance(item, onnx.NodeProto)]
    _check_sizes(path, tensors)
    external = [item for item in tensors if item.data_location == onnx.TensorProto.EXTERNAL]
    beside = tuple(sorted({_checked_location(path, tensor) for tensor in external}))
    _check_operators(path, proto, nodes)
    try:
        onnx.checker.check_model(str(path) if beside else content)
    except Exception as error:  # onnx's checker raises classes of its own and of others
        raise _invalid(path, error) from error
    beside_bytes = sum(data.stat().st_size for data in beside)
    return GraphFile(path, proto, beside, len(content) + beside_bytes)


def _parsed(path: Path, content: bytes) -> onnx.ModelProto:
    try:
        proto = onnx.ModelProto()
        proto.ParseFromString(content)
    # protobuf's DecodeError, whose package is onnx's dependency and not ours
    except Exception as error:
        raise ModelRefused(f"{path} is not an ONNX model, or only a part of one") from error
    if not proto.graph.node or not proto.opset_import:
        raise ModelRefused(f"{path} holds no graph; an ONNX model was expected")
    return proto


def _check_text(path: Path, messages: Iterable[Any]) -> None:
    """Refuse names that are no text: protobuf hands them out as bytes, which nothing behind it
    expects.
    """
    for message in messages:
        for field in _fields(message.DESCRIPTOR, "text"):
            value = getattr(message, field)
            texts = (value,) if isinstance(value, str | bytes) else value
            if any(isinstance(text, bytes) for text in texts):
                raise ModelRefused(
                    f"{path} has a {field} in its {message.DESCRIPTOR.name} that is not UTF-8 text"
                )


def _check_sizes(path: Path, tensors: Iterable[onnx.TensorProto]) -> None:
    for tensor in tensors:
        try:
            data_bytes(tensor)
        except ValueError as error:
            raise ModelRefused(
                f"{path} has weights {tensor.name!r} of no known size: {error}"
            ) from error


def _check_operators(path: Path, proto: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> None:
    own = {(function.domain, function.name) for function in proto.functions}
    for node in nodes:
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in own:
            raise ModelRefused(
                f"{path} uses operator {node.op_type!r} of domain {node.domain!r}; "
                "only ai.onnx, ai.onnx.ml and com.microsoft are served"
            )


def _checked_location(path: Path, tensor: onnx.TensorProto) -> Path:
    """The data file of one tensor, known to be a plain file inside the model's folder that holds
    all its bytes.
    """
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
    """The bytes that the tensor's shape needs, and those it says it has, must both be there."""
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or 0)
    except ValueError as error:
        why = "has an offset or length that is no number"
        raise _misplaced(path, tensor, data.name, why) from error
    needed = data_bytes(tensor)
    end = offset + max(length, needed)
    if min(offset, length) < 0 or end > data.stat().st_size:
        raise _misplaced(path, tensor, data.name, f"has no bytes {offset} to {end}")
    if length and length != needed:
        why = f"has {length} bytes for it, its shape takes {needed}"
        raise _misplaced(path, tensor, data.name, why)


def _misplaced(path: Path, tensor: onnx.TensorProto, location: str, why: str) -> ModelRefused:
    return ModelRefused(f"{path} keeps the weights {tensor.name!r} in {location!r}, which {why}")


def _invalid(path: Path, error: Exception) -> ModelRefused:
    return ModelRefused(f"{path} is not a valid model: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
    )[:300]
