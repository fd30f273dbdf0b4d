"""HTTP as Lambda sees it: an event becomes a ``Request``, a ``Response`` becomes an answer, routes
lie between.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final
from urllib.parse import unquote

from onnxlift_runtime.errors import (
    MalformedRequest,
    MethodNotAllowed,
    OnnxliftError,
    PathNotFound,
    PayloadTooLarge,
)
from onnxlift_runtime.settings import DEFAULT_LIMITS, Limits

JSON: Final = "application/json"
OCTET_STREAM: Final = "application/octet-stream"
# Of the binary tensor data extension: how many bytes of a body are JSON.
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
ANONYMOUS: Final = "anonymous"
_ASCII: Final = bytes(range(128))
# Where an event's context says who calls, the surest first: IAM, then an authorizer, then an API
# key.
_IDENTITIES: Final = (
    ("iam", ("identity", "userArn")),
    ("iam", ("authorizer", "iam", "userArn")),
    ("principal", ("authorizer", "jwt", "claims", "sub")),
    ("principal", ("authorizer", "lambda", "principalId")),
    ("principal", ("authorizer", "principalId")),
    ("key", ("identity", "apiKeyId")),
)


class EventFormat(StrEnum):
    """How an event is laid out: REST API (1.0), or HTTP API and function URL (2.0)."""

    REST = "1.0"
    HTTP = "2.0"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; header names are lower case, ``path`` is decoded and without the stage.

    ``caller`` is who API Gateway says it is: ``key:``, ``iam:`` or ``principal:`` with an id, or
    ``anonymous``.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    request_id: str = ""
    event_format: EventFormat = EventFormat.REST
    caller: str = ANONYMOUS

    @classmethod
    def from_event(cls, event: Mapping[str, Any], limits: Limits | None = None) -> "Request":
        """Read an API Gateway REST, HTTP API or function URL event.

        Raises ``MalformedRequest`` for any other event or a body that is not base64 as announced,
        and ``PayloadTooLarge`` before the body is decoded.
        """
        if not isinstance(event, Mapping):
            raise MalformedRequest("the event is not an object")
        context = _mapping(event, "requestContext")
        http = _mapping(context, "http")
        method = http.get("method") if http else event.get("httpMethod")
        if not isinstance(method, str):
            raise MalformedRequest("the event is not an API Gateway or function URL event")
        return cls(
            method=method,
            path=unquote(
                _path(event.get("rawPath"), context.get("stage"))
                if http
                else _path(event.get("path"), None)
            ),
            headers=_headers(event),
            query={
                name: value or ""
                for name, value in _mapping(event, "queryStringParameters").items()
            },
            body=_body(event, (limits or DEFAULT_LIMITS).max_body_bytes),
            request_id=str(context.get("requestId") or ""),
            event_format=EventFormat.HTTP if http else EventFormat.REST,
            caller=_caller(context),
        )

    def to_event(self) -> dict[str, Any]:
        """The event that ``from_event`` reads back to an equal request; the body is always
        base64.
        """
        common: dict[str, Any] = {
            "headers": dict(self.headers),
            "queryStringParameters": dict(self.query) or None,
            "body": base64.b64encode(self.body).decode("ascii") if self.body else None,
            "isBase64Encoded": bool(self.body),
        }
        path = self.path.replace("%", "%25")
        if self.event_format is EventFormat.REST:
            context: dict[str, Any] = {"requestId": self.request_id, "stage": "local"} | _identity(
                self.caller
            )
            return common | {"httpMethod": self.method, "path": path, "requestContext": context}
        http = {"method": self.method, "path": path}
        context = {"requestId": self.request_id, "stage": "$default", "http": http} | _identity(
            self.caller
        )
        return common | {"version": "2.0", "rawPath": path, "requestContext": context}


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(
        cls, document: Any, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> "Response":
        """An answer whose body is ``document`` as JSON."""
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
        # Half a character, which UTF-8 does not have, becomes what JSON would have escaped it to.
        body = text.encode(errors="backslashreplace")
        return cls(status, body, {"Content-Type": JSON, **(headers or {})})

    @classmethod
    def error(cls, error: OnnxliftError) -> "Response":
        """The one form in which every error is told: ``{"error": "<what, which, what was
        expected>"}``.
        """
        return cls.json({"error": str(error)}, error.status, error.headers)

    def to_event(self, limits: Limits | None = None) -> dict[str, Any]:
        """The value a Lambda function returns to API Gateway; text stays text, so that it costs no
        base64.

        Raises ``PayloadTooLarge`` where Lambda would drop the answer.
        """
        text = self.headers.get("Content-Type") == JSON and "Content-Encoding" not in self.headers
        event = {
            "statusCode": self.status,
            "headers": dict(self.headers),
            "body": "",
            "isBase64Encoded": not text,
        }
        body_bytes = _escaped_bytes(self.body) if text else (len(self.body) + 2) // 3 * 4
        size_bytes = len(json.dumps(event)) + body_bytes
        max_bytes = (limits or DEFAULT_LIMITS).max_answer_bytes
        if size_bytes > max_bytes:
            raise PayloadTooLarge(
                f"the answer takes {size_bytes} bytes of the {max_bytes} that one response "
                f"carries; "
                "ask for fewer outputs, smaller batches, or binary outputs, or for a job: 'Prefer: "
                "respond-async'"
            )
        return event | {
            "body": self.body.decode() if text else base64.b64encode(self.body).decode("ascii")
        }

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> "Response":
        """Read what ``to_event`` wrote, as API Gateway does."""
        body = event.get("body") or ""
        data = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
        return cls(event["statusCode"], data, dict(event.get("headers") or {}))

    def with_headers(self, headers: Mapping[str, str]) -> "Response":
        """A copy with more headers."""
        return replace(self, headers={**self.headers, **headers})


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint: the method, the pattern its path matches as a whole, and what answers it."""

    method: str
    pattern: re.Pattern[str]
    answer: Callable[[Request, Mapping[str, str | None]], Response]


def dispatch(routes: Iterable[Route], request: Request) -> Response:
    """Answer with the first route that fits; raises ``PathNotFound`` or ``MethodNotAllowed``."""
    allowed: list[str] = []
    for route in routes:
        match = route.pattern.fullmatch(request.path)
        if match and route.method == request.method:
            return route.answer(request, match.groupdict())
        if match:
            allowed.append(route.method)
    if allowed:
        raise MethodNotAllowed(request.method, tuple(dict.fromkeys(allowed)))
    nowhere = f"{request.method} {request.path}"
    raise PathNotFound(
        f"no endpoint at {nowhere}; GET /docs shows all, GET /openapi.json lists them"
    )


def _escaped_bytes(text: bytes) -> int:
    """What a JSON text takes at most as a string in the function's answer, whose writer may escape
    all but ASCII.
    """
    doubled = len(text) - len(text.translate(None, b'"\\\t\n\r'))
    foreign = (
        0 if text.isascii() else len(text.translate(None, _ASCII))
    )  # two bytes of UTF-8 become six: \u00e9
    return len(text) + doubled + 2 * foreign + 5 * text.count(b"\x7f")


def _mapping(event: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A part of an event, empty where it is null, absent or something else."""
    value = event.get(key)
    return value if isinstance(value, Mapping) else {}


def _caller(context: Mapping[str, Any]) -> str:
    """Who calls, by the id that API Gateway vouches for; never by a header, which anybody can
    write.
    """
    for kind, (*parts, last) in _IDENTITIES:
        place = context
        for part in parts:
            place = _mapping(place, part)
        if isinstance(found := place.get(last), str) and found:
            return f"{kind}:{found}"
    return ANONYMOUS


def _identity(caller: str) -> dict[str, Any]:
    """The part of a context from which ``_caller`` reads ``caller``."""
    kind, _, name = caller.partition(":")
    place = next((parts for known, parts in _IDENTITIES if known == kind and name), None)
    if place is None:
        return {}
    document: Any = name
    for part in reversed(place):
        document = {part: document}
    return dict(document)


def _path(path: Any, stage: Any) -> str:
    """The path without the stage that HTTP API puts before it."""
    if not isinstance(path, str):
        return "/"
    if stage and f"{path}/".startswith(f"/{stage}/"):
        path = path.removeprefix(f"/{stage}")
    return path or "/"


def _headers(event: Mapping[str, Any]) -> dict[str, str]:
    """Values by lower-case name, those of a repeated header joined (RFC 9110 section 5.3).

    Of these REST API's ``headers`` hold the last one alone: a second ``Prefer`` would take the
    place of the first.
    """
    single = {
        name: str(value) for name, value in _mapping(event, "headers").items() if value is not None
    }
    repeated = _mapping(event, "multiValueHeaders").items()
    joined = {
        name: ",".join(map(str, values)) for name, values in repeated if isinstance(values, list)
    }
    return {name.lower(): value for name, value in (*single.items(), *joined.items())}


def _body(event: Mapping[str, Any], max_bytes: int) -> bytes:
    body = event.get("body") or ""
    if not isinstance(body, str):
        raise MalformedRequest("the event's body is not text")
    size_bytes = len(body) * 3 // 4 if event.get("isBase64Encoded") else len(body)
    if size_bytes > max_bytes + 2:  # base64 pads to a multiple of three
        raise PayloadTooLarge(
            f"the body has {size_bytes} bytes, one request carries at most {max_bytes}; "
            "POST /v2/uploads says how to send larger inputs"
        )
    if not event.get("isBase64Encoded"):
        # Half a character is left to the JSON reader to refuse.
        return body.encode(errors="surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedRequest(f"the event's body is not base64: {error}") from error
