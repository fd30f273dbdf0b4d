"""HTTP as Lambda sees it: an event becomes a ``Request``, a ``Response`` becomes an answer, routes lie between."""

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
from onnxlift_runtime.settings import Limits

JSON: Final = "application/json"
OCTET_STREAM: Final = "application/octet-stream"


class EventFormat(StrEnum):
    """How an event is laid out: REST API (1.0), or HTTP API and function URL (2.0)."""

    REST = "1.0"
    HTTP = "2.0"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; header names are lower case, ``path`` is decoded and without the stage."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    request_id: str = ""
    event_format: EventFormat = EventFormat.REST

    @classmethod
    def from_event(cls, event: Mapping[str, Any], limits: Limits | None = None) -> "Request":
        """Read an API Gateway REST, HTTP API or function URL event.

        Raises ``MalformedRequest`` for any other event or a body that is not base64 as announced, and
        ``PayloadTooLarge`` before the body is decoded.
        """
        context = event.get("requestContext") or {}
        if "http" in context:
            method, path, event_format = (
                context["http"]["method"],
                _path_without_stage(event, context),
                EventFormat.HTTP,
            )
        elif "httpMethod" in event:
            method, path, event_format = event["httpMethod"], event.get("path") or "/", EventFormat.REST
        else:
            raise MalformedRequest("the event is not an API Gateway or function URL event")
        return cls(
            method=method,
            path=unquote(path),
            headers=_headers(event),
            query=dict(event.get("queryStringParameters") or {}),
            body=_body(event, (limits or Limits()).max_body_bytes),
            request_id=context.get("requestId") or "",
            event_format=event_format,
        )

    def to_event(self) -> dict[str, Any]:
        """The event that ``from_event`` reads back to an equal request; the body is always base64."""
        common: dict[str, Any] = {
            "headers": dict(self.headers),
            "queryStringParameters": dict(self.query) or None,
            "body": base64.b64encode(self.body).decode("ascii") if self.body else None,
            "isBase64Encoded": bool(self.body),
        }
        path = self.path.replace("%", "%25")
        if self.event_format is EventFormat.REST:
            context: dict[str, Any] = {"requestId": self.request_id, "stage": "local"}
            return common | {"httpMethod": self.method, "path": path, "requestContext": context}
        context = {"requestId": self.request_id, "stage": "$default", "http": {"method": self.method, "path": path}}
        return common | {"version": "2.0", "rawPath": path, "requestContext": context}


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> "Response":
        """An answer whose body is ``document`` as JSON."""
        body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
        return cls(status, body, {"Content-Type": JSON, **(headers or {})})

    @classmethod
    def error(cls, error: OnnxliftError) -> "Response":
        """The one form in which every error is told: ``{"error": "<what, which, what was expected>"}``."""
        return cls.json({"error": str(error)}, error.status, error.headers)

    def to_event(self, limits: Limits | None = None) -> dict[str, Any]:
        """The value a Lambda function returns to API Gateway; text stays text, so that it costs no base64.

        Raises ``PayloadTooLarge`` where Lambda would drop the answer.
        """
        text = self.headers.get("Content-Type") == JSON and "Content-Encoding" not in self.headers
        size_bytes = len(self.body) + self.body.count(b'"') if text else (len(self.body) + 2) // 3 * 4
        max_bytes = (limits or Limits()).max_answer_bytes
        if size_bytes > max_bytes:
            raise PayloadTooLarge(
                f"the answer takes {size_bytes} bytes of the {max_bytes} that one response carries; "
                "ask for fewer outputs, smaller batches, or binary outputs"
            )
        return {
            "statusCode": self.status,
            "headers": dict(self.headers),
            "body": self.body.decode() if text else base64.b64encode(self.body).decode("ascii"),
            "isBase64Encoded": not text,
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
    raise PathNotFound(f"no endpoint at {request.method} {request.path}; GET /openapi.json lists them")


def _path_without_stage(event: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    path: str = event.get("rawPath") or "/"
    stage = context.get("stage") or "$default"
    return path.removeprefix(f"/{stage}") or "/" if stage != "$default" else path


def _headers(event: Mapping[str, Any]) -> dict[str, str]:
    repeated = event.get("multiValueHeaders") or {}
    single = event.get("headers") or {}
    joined = {name.lower(): ",".join(values) for name, values in repeated.items()}
    return joined | {name.lower(): value for name, value in single.items()}


def _body(event: Mapping[str, Any], max_bytes: int) -> bytes:
    body = event.get("body") or ""
    size_bytes = len(body) * 3 // 4 if event.get("isBase64Encoded") else len(body)
    if size_bytes > max_bytes + 2:  # base64 pads to a multiple of three
        raise PayloadTooLarge(f"the body has {size_bytes} bytes, one request carries at most {max_bytes}")
    if not event.get("isBase64Encoded"):
        return body.encode() if isinstance(body, str) else bytes(body)
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedRequest(f"the event's body is not base64: {error}") from error
