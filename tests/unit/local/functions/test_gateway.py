"""The stand-in for API Gateway, driven as an ASGI server drives it."""

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from onnxlift.local.functions.gateway import Bounds, Gateway
from onnxlift.local.functions.wiring import Wiring
from onnxlift_runtime.settings import Limits

Event = Mapping[str, Any]
SMALL = Bounds(workers=2, limits=replace(Limits(), max_body_bytes=10))


class Caller:
    """One request's ASGI channel: messages to hand in, and what came back."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = list(messages) or [
            {"type": "http.request", "body": b"", "more_body": False}
        ]
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        if not self.messages:
            await asyncio.sleep(60)
        return self.messages.pop(0)

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        body: bytes = self.sent[1]["body"]
        return body


def _ask(
    handler: Callable[[Event, Any], Any],
    caller: Caller | None = None,
    bounds: Bounds | None = None,
    **scope: Any,
) -> Caller:
    caller = caller or Caller()
    gateway = Gateway(
        Wiring({"control": handler, "predict": handler}, frozenset()), bounds or Bounds(workers=2)
    )
    full = {
        "type": "http",
        "method": "GET",
        "path": "/v2",
        "raw_path": b"/v2",
        "query_string": b"",
        "headers": [],
        **scope,
    }
    asyncio.run(gateway(full, caller.receive, caller.send))
    gateway.close()
    return caller


def _echo(event: Event, context: Any) -> dict[str, Any]:
    told = {
        **event,
        "function": context.function_name,
        "left_ms": context.get_remaining_time_in_millis(),
    }
    return {
        "statusCode": 200,
        "headers": {"X-Own": "1"},
        "body": json.dumps(told),
        "isBase64Encoded": False,
    }


def test_a_request_becomes_the_rest_apis_event() -> None:
    body = {"type": "http.request", "body": b"\x00\xff", "more_body": False}
    headers = [(b"content-type", b"a/b"), (b"accept", b"x"), (b"accept", b"y")]

    answer = _ask(
        _echo,
        Caller(body),
        method="POST",
        path="/v2/é %",
        headers=headers,
        query_string=b"a=1&b=&c=%20",
    )

    event = json.loads(answer.body)
    assert (event["httpMethod"], event["path"]) == ("POST", "/v2/é %25")
    assert event["headers"] == {"content-type": "a/b", "accept": "x,y"}
    assert event["queryStringParameters"] == {"a": "1", "b": "", "c": " "}
    assert (base64.b64decode(event["body"]), event["isBase64Encoded"]) == (b"\x00\xff", True)


def test_the_context_tells_the_function_and_the_time_left() -> None:
    event = json.loads(_ask(_echo).body)

    assert event["function"] == "control"
    assert 0 < event["left_ms"] <= 29_000


def test_the_answer_carries_the_functions_headers_and_the_request_id() -> None:
    answer = _ask(_echo)

    assert answer.headers["x-own"] == "1"
    assert (
        answer.headers["x-amzn-requestid"] == json.loads(answer.body)["requestContext"]["requestId"]
    )
    assert answer.headers["content-length"] == str(len(answer.body))


def test_a_binary_answer_is_decoded() -> None:
    binary = {
        "statusCode": 200,
        "body": base64.b64encode(b"\x00\x01").decode(),
        "isBase64Encoded": True,
    }

    assert _ask(lambda _event, _context: binary).body == b"\x00\x01"


@pytest.mark.parametrize(
    "result", [RuntimeError("inside"), {"no": "status"}, None], ids=["raises", "malformed", "none"]
)
def test_a_function_that_breaks_is_a_500_with_a_traceback_in_the_log(
    result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(_event: Event, _context: Any) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    answer = _ask(handler)

    assert answer.status == 500
    assert "unexpected failure" in json.loads(answer.body)["error"]
    assert "inside" not in answer.body.decode()
    assert caplog.records[0].exc_info is not None


def test_a_function_that_takes_too_long_is_504() -> None:
    released = threading.Event()

    answer = _ask(lambda _event, _context: released.wait(60), bounds=replace(SMALL, timeout_s=0.05))
    released.set()

    assert answer.status == 504
    assert "0.05 s" in json.loads(answer.body)["error"]


def test_a_body_that_never_ends_is_408_and_closes() -> None:
    start = {"type": "http.request", "body": b"{", "more_body": True}

    answer = _ask(_echo, Caller(start), replace(SMALL, receive_timeout_s=0.05), method="POST")

    assert (answer.status, answer.headers["connection"]) == (408, "close")


def test_an_announced_oversize_is_refused_before_anything_is_read() -> None:
    caller = Caller({"type": "http.request", "body": b"x", "more_body": True})

    answer = _ask(_echo, caller, SMALL, headers=[(b"content-length", b"11")])

    assert answer.status == 413
    assert len(caller.messages) == 1
    assert "connection" not in answer.headers


def test_an_oversize_is_refused_as_soon_as_it_is_seen() -> None:
    pieces = [{"type": "http.request", "body": b"123456", "more_body": True} for _ in range(9)]
    caller = Caller(*pieces)

    answer = _ask(_echo, caller, SMALL)

    assert answer.status == 413
    assert len(caller.messages) == 7


def test_a_caller_that_left_gets_no_answer_and_calls_no_function() -> None:
    called: list[Event] = []

    answer = _ask(lambda event, _context: called.append(event), Caller({"type": "http.disconnect"}))

    assert answer.sent == []
    assert called == []


def test_more_requests_than_allowed_at_once_are_429_with_retry_after() -> None:
    answer = _ask(_echo, bounds=replace(SMALL, in_flight=0))

    assert answer.status == 429
    assert answer.headers["retry-after"] == "1"


def test_headers_above_the_quota_are_431() -> None:
    answer = _ask(_echo, headers=[(b"x", b"a" * 11_000)])

    assert answer.status == 431
