"""Bytes as they travel: bounded decompression, compression, and JSON in both directions."""

import gzip
import json
import zlib
from typing import Any, Final

import orjson

from onnxlift_runtime.errors import MalformedRequest, PayloadTooLarge, UnsupportedEncoding

MIN_COMPRESSED_BYTES: Final = 256  # below this gzip's own header eats the gain
_ANY_HEADER: Final = 32 + zlib.MAX_WBITS  # gzip or zlib, told apart by its header

Buffer = bytes | memoryview


def decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo ``Content-Encoding``, never holding more than ``max_bytes`` of the result.

    ``deflate`` is the zlib format, as RFC 9110 section 8.4.1.2 has it. Raises ``UnsupportedEncoding``,
    ``PayloadTooLarge`` or ``MalformedRequest``.
    """
    if encoding in {"", "identity"}:
        return body
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise UnsupportedEncoding(f"Content-Encoding {encoding!r} is not read here; allowed: gzip, deflate, identity")
    try:
        return _inflate(body, max_bytes)
    except zlib.error as error:
        raise MalformedRequest(f"the body is not {encoding}, as its Content-Encoding says: {error}") from error


def _inflate(body: bytes, max_bytes: int) -> bytes:
    """Inflate all members of a gzip stream, or one zlib stream."""
    pieces: list[bytes] = []
    room = max_bytes
    while True:
        inflater = zlib.decompressobj(_ANY_HEADER)
        # One byte more than allowed tells "exactly at the limit" from "over it".
        pieces.append(inflater.decompress(body, room + 1))
        room -= len(pieces[-1])
        if room < 0:
            raise PayloadTooLarge(f"the body inflates to more than {max_bytes} bytes; send less in one request")
        if not inflater.eof:
            raise MalformedRequest("the compressed body ends before its stream does")
        body = inflater.unused_data
        if not body:
            return b"".join(pieces)


def compress(body: bytes, accept_encoding: str) -> tuple[bytes, str]:
    """Compress ``body`` as ``Accept-Encoding`` allows; returns the bytes and the encoding used ("" for none)."""
    if len(body) < MIN_COMPRESSED_BYTES:
        return body, ""
    accepted = _accepted(accept_encoding)
    if "gzip" in accepted:
        return gzip.compress(body, compresslevel=1, mtime=0), "gzip"
    if "deflate" in accepted:
        return zlib.compress(body, level=1), "deflate"
    return body, ""


def _accepted(header: str) -> set[str]:
    """The codings of an ``Accept-Encoding`` header that are not refused with ``q=0``."""
    codings = (item.partition(";") for item in header.lower().split(","))
    return {name.strip() for name, _, weight in codings if weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00"}}


def decode_json(body: Buffer, *, allow_nan: bool = False) -> Any:
    """Parse strict JSON; ``allow_nan`` also takes TensorFlow Serving's bare ``NaN`` and ``Infinity``.

    The parser refuses nesting deeper than 1,024 by itself. Raises ``MalformedRequest``.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not allow_nan:
            raise MalformedRequest(f"the body is not JSON: {error}") from error
    return _decode_json_with_nan(body)


def _decode_json_with_nan(body: Buffer) -> Any:
    try:
        return json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from error


def encode_json(document: Any) -> bytes:
    """Write strict JSON; numpy arrays become nested lists, NaN and infinities become ``null``."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def encode_json_with_nan(document: Any) -> bytes:
    """Write JSON with TensorFlow Serving's bare ``NaN`` and ``Infinity``, several times slower than ``encode_json``."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, default=_plain).encode()


def _plain(value: Any) -> Any:
    """A numpy array or scalar as what the standard writer knows."""
    return value.tolist()
