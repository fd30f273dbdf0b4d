"""Inputs that were uploaded beforehand: a request names them, and here they take their place in it.

An input then has neither ``data`` nor ``binary_data_size`` but the parameter ``upload``, with the
reference that ``POST /v2/uploads`` gave. The object is the tensor's raw bytes, as the binary tensor
data extension has them.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from onnxlift_runtime.errors import MalformedRequest, PayloadTooLarge
from onnxlift_runtime.http.encoding import decode_json, decompress, encode_json
from onnxlift_runtime.protocols.oip import HEADER_LENGTH
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors.datatypes import DATATYPES

UPLOAD: Final = "upload"
Headers = Mapping[str, str]
# Gives the bytes of a reference, at most so many.
Fetch = Callable[[str, int], bytes]

_LENGTH: Final = HEADER_LENGTH.lower()


def names_uploads(headers: Headers, body: bytes, limits: Limits) -> bool:
    """Whether some input of a request stands elsewhere; whatever cannot be read names none."""
    try:
        document, _ = _split(headers, body, limits)
    except MalformedRequest:
        return False
    return _has_references(document)


def announced(headers: Headers, body: bytes, limits: Limits) -> tuple[int, int]:
    """Rows and bytes of a request as its shapes announce them, before any upload is fetched or any
    shape is checked.
    """
    document, _ = _split(headers, body, limits)
    rows, size_bytes = 1, 0
    for entry in _inputs(document):
        shape = entry.get("shape")
        sizes = [size for size in shape if isinstance(size, int)] if isinstance(shape, list) else []
        rows = max([rows, *sizes[:1]])
        elements = math.prod(
            min(abs(size), limits.max_tensor_bytes) for size in sizes[: limits.max_dimensions]
        )
        size_bytes += min(elements * _item_bytes(entry), limits.max_tensor_bytes)
    return rows, size_bytes


def fill_in(headers: Headers, body: bytes, fetch: Fetch, limits: Limits) -> tuple[Headers, bytes]:
    """Put the bytes of every upload into the request, as if they had come with it; returns its
    headers and body.

    Raises ``MalformedRequest``, ``PayloadTooLarge`` and whatever ``fetch`` raises. A request
    without uploads, or one that cannot be read, comes back as it is.
    """
    try:
        document, blobs = _split(headers, body, limits)
    except MalformedRequest:
        return headers, body
    if not _has_references(document):
        return headers, body
    pieces: list[bytes | memoryview] = []
    room = limits.max_tensor_bytes
    for entry in _inputs(document):
        reference = _reference(entry)
        if reference is None:
            size = _sent_bytes(entry)
            pieces.append(blobs[:size])
            blobs = blobs[size:]
            continue
        pieces.append(fetch(reference, room))
        room -= len(pieces[-1])
        _replace(entry, len(pieces[-1]))
    json_part = encode_json(document)
    plain = {name: value for name, value in headers.items() if name != "content-encoding"}
    return {**plain, _LENGTH: str(len(json_part))}, b"".join([json_part, *pieces, blobs])


def _split(headers: Headers, body: bytes, limits: Limits) -> tuple[Any, memoryview]:
    """The JSON of a request that mentions uploads, and the bytes behind it."""
    try:
        plain = decompress(body, headers.get("content-encoding", ""), limits.max_decompressed_bytes)
    except PayloadTooLarge:
        return None, memoryview(b"")  # whoever reads the request itself says so
    length = headers.get(_LENGTH, "")
    end = (
        int(length)
        if length.isascii() and length.isdigit() and len(length) < len(str(2**63))
        else len(plain)
    )
    view = memoryview(plain)
    if plain.find(b'"upload"', 0, end) < 0:
        return None, view
    return decode_json(view[:end], max_bytes=limits.max_json_bytes), view[end:]


def _has_references(document: Any) -> bool:
    return any(_reference(entry) is not None for entry in _inputs(document))


def _inputs(document: Any) -> Iterator[dict[str, Any]]:
    inputs = document.get("inputs") if isinstance(document, dict) else None
    yield from (
        (entry for entry in inputs if isinstance(entry, dict)) if isinstance(inputs, list) else ()
    )


def _parameters(entry: Mapping[str, Any]) -> dict[str, Any]:
    parameters = entry.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _reference(entry: Mapping[str, Any]) -> str | None:
    reference = _parameters(entry).get(UPLOAD)
    return reference if isinstance(reference, str) else None


def _item_bytes(entry: Mapping[str, Any]) -> int:
    """The size of one element; 4 where it varies or is not known."""
    found = (item.size_bytes for item in DATATYPES if item.name == entry.get("datatype"))
    return next(found, 0) or 4


def _sent_bytes(entry: Mapping[str, Any]) -> int:
    size = _parameters(entry).get("binary_data_size")
    return size if isinstance(size, int) and size > 0 else 0


def _replace(entry: dict[str, Any], size_bytes: int) -> None:
    if entry.get("data") is not None or "binary_data_size" in _parameters(entry):
        raise MalformedRequest(
            f"input {entry.get('name')!r} has both an 'upload' and data of its own; expected one"
        )
    entry["parameters"] = {
        name: value for name, value in _parameters(entry).items() if name != UPLOAD
    }
    entry["parameters"]["binary_data_size"] = size_bytes
