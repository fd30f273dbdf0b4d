"""HTTP itself, on a plain socket: what a careless, slow or hostile caller may send."""

import gzip
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

from onnxlift.local.process import RunningService
from onnxlift_runtime.settings import Limits

INFER = "/v2/models/linear/infer"
BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
).encode()
TIMEOUT_S = 10


class Raw(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        text = json.loads(self.body)["error"]
        assert isinstance(text, str)
        return text


class Connection:
    """A socket that reads one answer at a time, so that a test sees whether the connection stays
    usable.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname or "", parts.port or 0), TIMEOUT_S)
        self._file = self.socket.makefile("rb")

    def send(self, method: str, path: str, body: bytes = b"", *headers: str) -> None:
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: test",
            f"Content-Length: {len(body)}",
            *headers,
            "",
            "",
        ]
        self.socket.sendall("\r\n".join(lines).encode() + body)

    def read(self, *, with_body: bool = True) -> Raw:
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        return Raw(
            status, headers, self._file.read(int(headers["content-length"])) if with_body else b""
        )

    def ask(self, method: str, path: str, body: bytes = b"", *headers: str) -> Raw:
        self.send(method, path, body, *headers)
        return self.read()

    def ended(self) -> bool:
        return self._file.read(1) == b""

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@pytest.fixture
def connection(service: RunningService) -> Iterator[Connection]:
    opened = Connection(service.url)
    yield opened
    opened.close()


def test_one_connection_carries_many_requests(connection: Connection) -> None:
    statuses = [connection.ask("POST", INFER, BODY).status for _ in range(3)]

    assert statuses == [200, 200, 200]
    assert connection.ask("GET", "/v2/health/live").status == 200


def test_pipelined_requests_are_answered_in_order(connection: Connection) -> None:
    connection.send("GET", "/v2/models/linear")
    connection.send("GET", "/v2/models/mlp")

    names = [json.loads(connection.read().body)["name"] for _ in range(2)]

    assert names == ["linear", "mlp"]


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2?verbose=1"])
def test_server_metadata_is_at_both_spellings(connection: Connection, path: str) -> None:
    answer = connection.ask("GET", path)

    assert answer.status == 200
    assert json.loads(answer.body)["name"] == "onnxlift"


def test_a_missing_content_type_is_no_obstacle(connection: Connection) -> None:
    answer = connection.ask("POST", INFER, BODY)

    assert answer.status == 200
    assert json.loads(answer.body)["model_name"] == "linear"


def test_header_names_are_read_in_any_case(connection: Connection) -> None:
    answer = connection.ask("POST", INFER, gzip.compress(BODY), "cOnTeNt-EnCoDiNg: gzip")

    assert answer.status == 200


def test_a_chunked_body_is_read(connection: Connection) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (BODY[:10], BODY[10:]))

    connection.socket.sendall(head + chunks + b"0\r\n\r\n")

    assert connection.read().status == 200
    assert connection.ask("GET", "/v2/health/live").status == 200


def test_expect_continue_is_answered_before_the_body_is_sent(connection: Connection) -> None:
    head = (
        f"POST {INFER} HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: "
        f"{len(BODY)}\r\n\r\n"
    )
    connection.socket.sendall(head.encode())

    assert connection.read(with_body=False).status == 100
    connection.socket.sendall(BODY)

    assert connection.read().status == 200


def test_an_announced_oversize_is_413_and_the_connection_stays_usable(
    connection: Connection,
) -> None:
    answer = connection.ask("POST", INFER, b" " * (Limits().max_body_bytes + 1))

    assert answer.status == 413
    assert str(Limits().max_body_bytes) in answer.error
    assert connection.ask("POST", INFER, BODY).status == 200


def test_an_announced_oversize_ends_the_connection_when_the_caller_waits_for_continue(
    connection: Connection,
) -> None:
    head = (
        f"POST {INFER} HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: "
        f"99000000\r\n\r\n"
    )
    connection.socket.sendall(head.encode())

    answer = connection.read()

    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert connection.ended()


def test_a_chunked_oversize_is_413_and_the_connection_stays_usable(connection: Connection) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"80000\r\n" + b" " * 0x80000 + b"\r\n"

    connection.socket.sendall(head + chunk * 12 + b"0\r\n\r\n")

    assert connection.read().status == 413
    assert connection.ask("POST", INFER, BODY).status == 200


def test_a_body_at_the_limit_is_read(connection: Connection) -> None:
    body = BODY + b" " * (Limits().max_body_bytes - len(BODY))

    assert connection.ask("POST", INFER, body).status == 200


def test_callers_that_leave_half_way_do_no_harm(service: RunningService) -> None:
    for sent in (b"", BODY[:20]):
        left = Connection(service.url)
        left.socket.sendall(
            f"POST {INFER} HTTP/1.1\r\nHost: t\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
            + sent
        )
        left.close()

    assert httpx.get(service.url + "/v2/health/live").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("DELETE", INFER, 405, "POST"),
        ("GET", INFER, 405, "POST"),
        ("POST", "/v2/health/live", 405, "GET"),
        ("PUT", "/v2/models/linear", 405, "GET"),
        ("GET", "/v2/nothing", 404, None),
        ("GET", "/", 404, None),
        ("POST", "/v2/models/absent/infer", 404, None),
        ("GET", "/v2/models/linear/versions/9", 404, None),
        ("GET", "/v2/models/%2e%2e/ready", 404, None),
        ("GET", "/v2/models/a%0d%0aX-Evil:%201/ready", 404, None),
        ("POST", "/v1/models/linear:explain", 400, None),
    ],
)
def test_a_wrong_path_or_verb_is_told_in_the_one_form(
    connection: Connection, method: str, path: str, status: int, allowed: str | None
) -> None:
    answer = connection.ask(method, path)

    assert answer.status == status
    assert answer.error
    assert answer.headers.get("allow") == allowed
    assert "x-evil" not in answer.headers


def test_head_gets_headers_alone(connection: Connection) -> None:
    connection.send("HEAD", "/v2/health/live")

    assert connection.read(with_body=False).status == 405
    assert connection.ask("GET", "/v2/health/live").status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nno header\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: t\r\nX: " + b"a" * 70_000,
    ],
    ids=["no-http", "no-header", "endless-header"],
)
def test_what_is_no_http_is_400_in_the_one_form(connection: Connection, sent: bytes) -> None:
    connection.socket.sendall(sent)

    answer = connection.read()

    assert answer.status == 400
    assert "HTTP/1.1" in answer.error


def test_headers_above_the_gateways_quota_are_431(connection: Connection) -> None:
    answer = connection.ask("POST", INFER, BODY, "X-Large: " + "a" * 11_000)

    assert answer.status == 431
    assert "10240" in answer.error
    assert connection.ask("POST", INFER, BODY).status == 200


def test_many_callers_at_once_are_all_answered(service: RunningService) -> None:
    def ask(_number: int) -> Any:
        return httpx.post(service.url + INFER, content=BODY, timeout=TIMEOUT_S).status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(ask, range(64)))

    assert statuses == [200] * 64


def test_answers_carry_the_request_id(connection: Connection) -> None:
    first, second = (connection.ask("GET", "/v2").headers["x-amzn-requestid"] for _ in range(2))

    assert first != second
