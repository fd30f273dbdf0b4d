"""Bytes as they travel: bounded decompression, compression, and JSON in both directions."""

import gzip
import json
import math
import re
import zlib
from collections.abc import Mapping
from typing import Any, Final

try:
    import orjson
except (
    ModuleNotFoundError
):  # the functions that are zips have no compiled packages: they look at requests, slowly
    orjson = None  # type: ignore[assignment]

from onnxlift_runtime.errors import MalformedRequest, PayloadTooLarge, UnsupportedEncoding

MIN_COMPRESSED_BYTES: Final = 256  # below this gzip's own header eats the gain
# of a gzip stream; each costs a copy of what follows it, so a million empty ones cost minutes
MAX_MEMBERS: Final = 64
_GZIP: Final = 16 + zlib.MAX_WBITS
_CODINGS: Final = ("gzip", "deflate")  # that answers are written in, the preferred one first

_QUALITY: Final = re.compile(r"[01](\.[0-9]{0,3})?")

Buffer = bytes | memoryview


def decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo ``Content-Encoding``, never holding more than ``max_bytes`` of the result.

    ``deflate`` is the zlib format, as RFC 9110 section 8.4.1.2 has it. Raises
    ``UnsupportedEncoding``, ``PayloadTooLarge`` or ``MalformedRequest``.
    """
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise UnsupportedEncoding(
            f"Content-Encoding {encoding!r} is not read here; allowed: gzip, deflate, identity"
        )
    window, members = (zlib.MAX_WBITS, 1) if encoding == "deflate" else (_GZIP, MAX_MEMBERS)
    try:
        return _inflate(body, window, members, max_bytes)
    except zlib.error as error:
        raise MalformedRequest(
            f"the body is not {encoding}, as its Content-Encoding says: {error}"
        ) from error


def inflate(
    headers: Mapping[str, str], body: bytes, max_bytes: int
) -> tuple[Mapping[str, str], bytes]:
    """Lower-case headers and body with the ``Content-Encoding`` undone; raises what ``decompress``
    raises.
    """
    plain = {name: value for name, value in headers.items() if name != "content-encoding"}
    return plain, decompress(body, headers.get("content-encoding", ""), max_bytes)


def _inflate(body: bytes, window: int, members: int, max_bytes: int) -> bytes:
    """Inflate the members of a gzip stream, or one zlib stream."""
    pieces: list[bytes] = []
    room = max_bytes
    for _ in range(members):
        inflater = zlib.decompressobj(window)
        # One byte more than allowed tells "exactly at the limit" from "over it".
        pieces.append(inflater.decompress(body, room + 1))
        room -= len(pieces[-1])
        if room < 0:
            raise PayloadTooLarge(
                f"the body inflates to more than {max_bytes} bytes; send less in one request"
            )
        if not inflater.eof:
            raise MalformedRequest("the compressed body ends before its stream does")
        body = inflater.unused_data
        if not body:
            return b"".join(pieces)
    raise MalformedRequest(
        f"{len(body)} bytes follow the compressed body, which ends after {members} parts"
    )


def compress(body: bytes, accept_encoding: str) -> tuple[bytes, str]:
    """Compress ``body`` as ``Accept-Encoding`` allows; returns the bytes and the encoding used (""
    for none).
    """
    if len(body) < MIN_COMPRESSED_BYTES:
        return body, ""
    weights = _weights(accept_encoding)
    wanted = {coding: weights.get(coding, weights.get("*", 0.0)) for coding in _CODINGS}
    best = max(wanted, key=wanted.__getitem__)
    # A coding named on purpose wins over "identity" of the same weight: that is why the caller
    # names it.
    if not wanted[best] or wanted[best] < weights.get("identity", 0.0):
        return body, ""
    compressed = (
        gzip.compress(body, compresslevel=1, mtime=0)
        if best == "gzip"
        else zlib.compress(body, level=1)
    )
    return compressed, best


def _weights(header: str) -> dict[str, float]:
    """How much each coding of an ``Accept-Encoding`` header is wanted (RFC 9110 section 12.5.3);
    "x-gzip" is gzip.
    """
    weights: dict[str, float] = {}
    for item in header.lower().split(","):
        coding, *parameters = (part.strip() for part in item.split(";"))
        quality = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        weights[coding.removeprefix("x-")] = float(quality) if _QUALITY.fullmatch(quality) else 0.0
    return weights


def decode_json(body: Buffer, *, allow_nan: bool = False, max_bytes: int | None = None) -> Any:
    """Parse strict JSON; ``allow_nan`` also takes TensorFlow Serving's bare ``NaN`` and
    ``Infinity``.

    The parser refuses nesting deeper than 1,024 by itself. Raises ``MalformedRequest`` and
    ``PayloadTooLarge``.
    """
    if max_bytes is not None and len(body) > max_bytes:
        raise PayloadTooLarge(
            f"the JSON has {len(body)} bytes, at most {max_bytes} are read; send less in one "
            f"request, or binary tensors"
        )
    if orjson is None:
        return _decode_slowly(body, allow_nan=allow_nan)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not allow_nan:
            raise MalformedRequest(f"the body is not JSON: {error}") from error
    return _decode_slowly(body, allow_nan=True)


def _decode_slowly(body: Buffer, *, allow_nan: bool) -> Any:
    try:
        text = bytes(body).decode()
        document = json.loads(
            text, parse_float=_finite, parse_constant=None if allow_nan else _refuse
        )
        if (
            "\\ud" in text or "\\uD" in text
        ):  # may escape half a character, which the strict parser refuses by itself
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from error
    return document


def _finite(text: str) -> float:
    """A number that the strict parser would take too, and not infinity where the caller wrote
    1e999.
    """
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def encode_json(document: Any) -> bytes:
    """Write strict JSON; numpy arrays become nested lists, NaN and infinities become ``null``."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def encode_json_with_nan(document: Any) -> bytes:
    """Write JSON with TensorFlow Serving's bare ``NaN`` and ``Infinity``, several times slower than
    ``encode_json``.
    """
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, default=_plain).encode()


def _plain(value: Any) -> Any:
    """A numpy array or scalar as what the standard writer knows."""
    return value.tolist()
