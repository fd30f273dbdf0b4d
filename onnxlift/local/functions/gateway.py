"""An ASGI application that stands where API Gateway stands: limits, the event, the function, the
answer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

from onnxlift.local.functions.context import LambdaContext
from onnxlift.local.functions.wiring import Handler, Wiring
from onnxlift_runtime.errors import OnnxliftError, PayloadTooLarge
from onnxlift_runtime.http.message import ANONYMOUS, Request, Response
from onnxlift_runtime.settings import DEFAULT_LIMITS, Limits

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

MEMORY_MB: Final = 1_769
CLOSE: Final = {"Connection": "close"}
access_log = logging.getLogger("onnxlift.access")
log = logging.getLogger("onnxlift.local")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the gateway allows.

    ``header_bytes`` (request line and headers together) and ``timeout_s`` are API Gateway's own
    quotas; ``in_flight`` bounds the memory of bodies that wait.
    """

    workers: int = 8
    in_flight: int = 128
    header_bytes: int = 10_240
    receive_timeout_s: float = 30
    timeout_s: float = 29
    limits: Limits = DEFAULT_LIMITS


class Gateway:
    """Answer HTTP requests with the functions of ``wiring``, each call in one of a bounded number
    of threads.
    """

    def __init__(self, wiring: Wiring, bounds: Bounds | None = None) -> None:
        self._wiring = wiring
        self._bounds = bounds or Bounds()
        self._in_flight = 0
        self._pool = ThreadPoolExecutor(self._bounds.workers, "function")

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request; a caller that left gets no answer."""
        started = perf_counter()
        self._in_flight += 1
        try:
            response = await self._answer(scope, receive)
        finally:
            self._in_flight -= 1
        if response is not None:
            await _send(send, response)
        _log_access(scope, response, (perf_counter() - started) * 1000)

    def close(self) -> None:
        """Take no further calls; calls that run are left to end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _answer(self, scope: Mapping[str, Any], receive: Receive) -> Response | None:
        headers = _headers(scope)
        # A caller that waits for "100 Continue" may never send its body: the connection cannot be
        # used again.
        unread = CLOSE if "expect" in headers else {}
        if self._in_flight > self._bounds.in_flight:
            return _refusal(
                429, "too many requests at once; try again", {"Retry-After": "1", **unread}
            )
        if (size_bytes := _header_bytes(scope)) > self._bounds.header_bytes:
            why = (
                f"path and headers take {size_bytes} bytes, one request carries at most "
                f"{self._bounds.header_bytes}"
            )
            return _refusal(431, why, unread)
        try:
            async with asyncio.timeout(self._bounds.receive_timeout_s):
                body = await _receive_body(headers, receive, self._bounds.limits.max_body_bytes)
        except PayloadTooLarge as error:
            return Response.error(error).with_headers(unread)
        except TimeoutError:
            return _refusal(
                408, f"the body did not arrive within {self._bounds.receive_timeout_s:g} s", CLOSE
            )
        return None if body is None else await self._invoke(_request(scope, headers, body))

    async def _invoke(self, request: Request) -> Response:
        """Run the function; its exceptions become answers, as API Gateway's integration does it."""
        name = self._wiring.function_for(request.path)
        context = LambdaContext(name, MEMORY_MB, self._bounds.timeout_s)
        call = partial(
            _call,
            self._wiring.handlers[name],
            replace(request, request_id=context.aws_request_id),
            context,
        )
        try:
            async with asyncio.timeout(self._bounds.timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._pool, call)
        except TimeoutError:
            why = f"no answer within {self._bounds.timeout_s:g} s, the time that the API waits"
            return _refusal(504, why, {})
        except Exception:
            log.exception("function %s failed on %s %s", name, request.method, request.path)
            return _refusal(500, "unexpected failure; the server's log has the details", {})


def _call(handler: Handler, request: Request, context: LambdaContext) -> Response:
    answer = Response.from_event(handler(request.to_event(), context))
    return answer.with_headers({"x-amzn-RequestId": context.aws_request_id})


def _refusal(status: int, why: str, headers: Mapping[str, str]) -> Response:
    return Response.json({"error": why}, status, headers)


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    """Header values by lower-case name; a repeated header is joined with commas, as RFC 9110
    section 5.3 allows.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _header_bytes(scope: Mapping[str, Any]) -> int:
    sizes = (len(name) + len(value) for name, value in scope["headers"])
    return len(scope["raw_path"]) + len(scope["query_string"]) + sum(sizes)


def _request(scope: Mapping[str, Any], headers: Mapping[str, str], body: bytes) -> Request:
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    # API Gateway knows keys by their ids; here any key is known, so that one can play several
    # callers.
    caller = f"key:{headers['x-api-key']}" if headers.get("x-api-key") else ANONYMOUS
    return Request(scope["method"], scope["path"], headers, query, body, caller=caller)


async def _receive_body(
    headers: Mapping[str, str], receive: Receive, max_bytes: int
) -> bytes | None:
    """The whole body, or None where the caller left; raises ``PayloadTooLarge`` as soon as it is
    known.
    """
    announced = headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > max_bytes:
        raise _too_large(int(announced), max_bytes)
    pieces: list[bytes] = []
    size_bytes, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        size_bytes += len(pieces[-1])
        if size_bytes > max_bytes:
            raise _too_large(size_bytes, max_bytes)
        more = message.get("more_body", False)
    return b"".join(pieces)


def _too_large(size_bytes: int, max_bytes: int) -> OnnxliftError:
    return PayloadTooLarge(
        f"the body has {size_bytes} bytes or more, one request carries at most {max_bytes}"
    )


async def _send(send: Send, response: Response) -> None:
    headers = {**response.headers, "Content-Length": str(len(response.body))}
    raw = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    await send({"type": "http.response.body", "body": response.body})


def _log_access(scope: Mapping[str, Any], response: Response | None, took_ms: float) -> None:
    """One line per request; the path as it was sent, whose escapes keep line breaks out of the
    log.
    """
    path = scope["raw_path"].decode("latin-1")
    if response is None:
        access_log.info("%s %s - %.1f ms, the caller left", scope["method"], path, took_ms)
        return
    access_log.info(
        "%s %s %d %.1f ms %d B", scope["method"], path, response.status, took_ms, len(response.body)
    )
