"""A proxy before S3, SQS and DynamoDB: it lets calls fail as networks and services do, and counts
what is published.
"""

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

HANGS_S: Final = 30.0  # longer than the clients wait
SLOW_S: Final = 1.0
_OWN_HEADERS: Final = {
    "connection",
    "transfer-encoding",
    "content-length",
    "expect",
    "date",
    "server",
}


@dataclass(frozen=True, slots=True)
class Rates:
    """The share of calls that each thing happens to.

    ``refused``: 500 or 503 in place of the call. ``unanswered``: the call is made, and the
    connection closed on its answer. ``slow``: it takes a second longer. ``hanging``: no answer
    until the client gives up.
    """

    refused: float = 0.03
    unanswered: float = 0.01
    slow: float = 0.01
    hanging: float = 0.0003


@dataclass
class Seen:
    """What went through: calls, faults by kind, and how often each job was stored as SUCCEEDED."""

    calls: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    published: Counter[str] = field(default_factory=Counter)


class Proxy(ThreadingHTTPServer):
    """Passes calls on to ``target``, some of them with a fault."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, target: str, rates: Rates, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), Passer)
        self.seen = Seen()
        self._host = urlsplit(target).netloc
        self._rates = rates
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self._local = threading.local()

    def draw(self) -> str:
        """The fault of the next call; "" for none."""
        with self._lock:
            self.seen.calls += 1
            drawn = self._dice.random()
            for name in ("refused", "unanswered", "slow", "hanging"):
                drawn -= getattr(self._rates, name)
                if drawn < 0:
                    self.seen.faults[name] += 1
                    return name
        return ""

    def pass_on(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, Any, bytes]:
        """Make the call; each of our threads keeps one connection. Returns status, headers and
        body.
        """
        connection = getattr(self._local, "connection", None) or http.client.HTTPConnection(
            self._host, timeout=60
        )
        self._local.connection = connection
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _OWN_HEADERS
        }
        try:
            connection.request(
                request.command, request.path, body, headers | {"Content-Length": str(len(body))}
            )
            answer = connection.getresponse()
            found = answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException):
            self._local.connection = None
            return 500, {}, b""
        self._note(request, body, found[0])
        return found

    def _note(self, request: BaseHTTPRequestHandler, body: bytes, status: int) -> None:
        """Count what DynamoDB stored as SUCCEEDED."""
        if (
            status == 200
            and request.headers.get("X-Amz-Target", "").endswith(".PutItem")
            and b"SUCCEEDED" in body
        ):
            item = json.loads(body)["Item"]
            if item["status"]["S"] == "SUCCEEDED":
                with self._lock:
                    self.seen.published[item["id"]["S"]] += 1

    def handle_error(self, *_arguments: Any) -> None:
        """Say nothing: workers are killed in the middle of their calls."""


class Passer(BaseHTTPRequestHandler):
    """One connection to the proxy."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Proxy

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""

    def answer_any(self) -> None:
        """Answer one call, or let it fail."""
        body = _body(self)
        if len(body) < int(self.headers.get("Content-Length") or 0):
            self.close_connection = True  # whoever asked died in the middle of it
            return
        fault = self.server.draw()
        if fault == "hanging":
            time.sleep(HANGS_S)
        elif fault == "refused":
            self._answer(503, {}, b"")
        else:
            time.sleep(SLOW_S if fault == "slow" else 0)
            answer = self.server.pass_on(self, body)
            if fault != "unanswered":
                self._answer(*answer)
        self.close_connection = self.close_connection or fault in {"hanging", "unanswered"}

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _OWN_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


for _method in ("GET", "PUT", "POST", "HEAD", "DELETE"):
    setattr(Passer, f"do_{_method}", Passer.answer_any)


@contextmanager
def faulty(target: str, rates: Rates, seed: int) -> Iterator[tuple[str, Seen]]:
    """A proxy in front of ``target`` while the block lasts: its URL, and what it sees."""
    with Proxy(target, rates, seed) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_port}", proxy.seen
        finally:
            proxy.shutdown()
            thread.join()


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))
    pieces = []
    while size := int(request.rfile.readline().split(b";")[0], 16):
        pieces.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(pieces)
