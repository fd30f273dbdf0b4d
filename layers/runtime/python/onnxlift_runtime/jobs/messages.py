"""Messages of callers on the public queue, before anything is looked up; pure.

``{"model": …, "inputs": […]}`` or ``{"model": …, "s3": {"key": …}}``, both with ``version``,
``reply_to``, ``ttl_s`` and ``idempotency_key`` where the caller wants them; ``outputs``,
``parameters`` and ``id`` belong to ``inputs`` as in an Open Inference Protocol request.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from onnxlift_runtime.errors import MalformedRequest
from onnxlift_runtime.jobs.job import DEFAULT_TTL_MS
from onnxlift_runtime.jobs.objects import FORMATS
from onnxlift_runtime.names import IN_PREFIX, UPLOADS_PREFIX
from onnxlift_runtime.tensors.wire import expect, expect_mapping, optional

MIN_TTL_S, MAX_TTL_S = 60, 21_600  # SageMaker's RequestTTLSeconds
MAX_KEY_CHARACTERS: Final = 255
_REQUEST: Final = ("id", "inputs", "outputs", "parameters")
_KNOWN: Final = {"model", "version", "reply_to", "ttl_s", "idempotency_key", "s3", *_REQUEST}


@dataclass(frozen=True, slots=True)
class Call:
    """A caller's message, unread: ``body`` is decoded where a refusal can be recorded."""

    caller: str
    body: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Reference:
    """An object of the service's own bucket.

    ``format`` is a word of ``objects.FORMATS``, "" for the extension's.
    """

    key: str
    version: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """What a caller asks for: ``request`` is an Open Inference Protocol body, or ``reference`` says
    where it lies.
    """

    model: str
    version: str | None
    request: bytes = b""
    reference: Reference | None = None
    reply_to: str = ""
    ttl_ms: int = DEFAULT_TTL_MS
    idempotency_key: str = ""


def decode_message(body: str, bucket: str) -> Message:
    """Read a caller's message; raises ``MalformedRequest`` saying which member is wrong."""
    document = _parse(body)
    if unknown := sorted(set(document) - _KNOWN):
        raise MalformedRequest(
            f"the message has the unknown member {unknown[0]!r}; known: {', '.join(sorted(_KNOWN))}"
        )
    if ("inputs" in document) == ("s3" in document):
        raise MalformedRequest(
            "the message has both or neither of 'inputs' and 's3', expected one of them"
        )
    version = optional(document, "version", None)
    return Message(
        model=_model(document),
        version=None if version is None else str(expect(version, (str, int), "'version'")),
        request=_request(document) if "inputs" in document else b"",
        reference=_reference(document["s3"], bucket) if "s3" in document else None,
        reply_to=reply_queue(document),
        ttl_ms=_ttl_ms(document),
        idempotency_key=_text(document, "idempotency_key"),
    )


def read_leniently(body: str) -> tuple[str, str]:
    """The model and the reply queue of a message that is otherwise wrong, "" for what cannot be
    read.
    """
    try:
        document = _parse(body)
    except MalformedRequest:
        return "", ""
    return _readable(_model, document), _readable(reply_queue, document)


def _readable(read: Callable[[Mapping[str, Any]], str], document: Mapping[str, Any]) -> str:
    try:
        return read(document)
    except MalformedRequest:
        return ""


def _model(document: Mapping[str, Any]) -> str:
    return _text(document, "model", required=True)


def reply_queue(document: Mapping[str, Any]) -> str:
    """The address of the queue that the caller wants to be answered on; raises
    ``MalformedRequest``.
    """
    address = _text(document, "reply_to", limit=1_024)
    if address and not address.startswith(("https://", "http://")):
        raise MalformedRequest(f"'reply_to' is {address[:100]!r}, expected the URL of an SQS queue")
    return address


def _parse(body: str) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
        json.dumps(
            document, ensure_ascii=False
        ).encode()  # half a character breaks whoever writes it, long after
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"the message is not JSON: {error}") from error
    return expect_mapping(document, "the message")


def _request(document: Mapping[str, Any]) -> bytes:
    request = {name: document[name] for name in _REQUEST if name in document}
    return json.dumps(request, separators=(",", ":")).encode()


def _reference(value: Any, bucket: str) -> Reference:
    """An object that callers may name: what they put there themselves, never another caller's
    payload or result.
    """
    given = expect_mapping(value, "'s3'")
    if unknown := sorted(set(given) - {"bucket", "key", "version", "format"}):
        raise MalformedRequest(
            f"'s3' has the unknown member {unknown[0]!r}; known: bucket, format, key, version"
        )
    if _text(given, "bucket") not in {"", bucket}:
        raise MalformedRequest(f"'bucket' in 's3' is {given['bucket']!r}, only {bucket!r} is read")
    key, word = _text(given, "key", required=True, limit=1_024), _text(given, "format")
    if not key.startswith((UPLOADS_PREFIX, IN_PREFIX)):
        raise MalformedRequest(
            f"'key' in 's3' is {key!r}, read are objects below {UPLOADS_PREFIX} and {IN_PREFIX}"
        )
    if word and word not in FORMATS.values():
        known = ", ".join(dict.fromkeys(FORMATS.values()))
        raise MalformedRequest(f"'format' in 's3' is {word!r}, allowed: {known}")
    return Reference(key, _text(given, "version", limit=1_024), word)


def _ttl_ms(document: Mapping[str, Any]) -> int:
    seconds = expect(optional(document, "ttl_s", DEFAULT_TTL_MS // 1000), int, "'ttl_s'")
    if not MIN_TTL_S <= seconds <= MAX_TTL_S:
        raise MalformedRequest(f"'ttl_s' is {seconds}, allowed: {MIN_TTL_S} to {MAX_TTL_S}")
    return int(seconds) * 1000


def _text(
    document: Mapping[str, Any],
    name: str,
    *,
    required: bool = False,
    limit: int = MAX_KEY_CHARACTERS,
) -> str:
    text: str = expect(optional(document, name, ""), str, f"{name!r}")
    if len(text) > limit:
        raise MalformedRequest(f"{name!r} has {len(text)} characters, at most {limit} are read")
    if required and not text:
        raise MalformedRequest(f"the message has no {name!r}")
    return text
