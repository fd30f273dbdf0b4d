"""One request to moto at a time, and waiting that costs nothing.

moto keeps its state in plain dictionaries: two threads inside it can both find a DynamoDB condition true. A long poll
of SQS inside moto would also hold everybody up, so it is taken apart: look, wait until something happens, look again.
"""

import io
import re
import select
import socket
from collections.abc import Callable, Iterable
from threading import Condition
from time import monotonic
from typing import Any, Final, TypeAlias

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
Application: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

_WAIT: Final = re.compile(rb'("WaitTimeSeconds"\s*:\s*|(?:^|&)WaitTimeSeconds=)(\d+)')
_MESSAGE: Final = re.compile(rb'"Messages"|<Message>')
_LOOK_AGAIN_S: Final = 0.5  # a message whose visibility timeout has passed announces itself to nobody


class Turnstile:
    """A WSGI application that lets one request at a time into ``application``."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._changed = Condition()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request; a long poll waits outside."""
        body = _read(environ)
        wait_s = _wait_s(environ, body)
        answer = _Answer()
        with self._changed:
            deadline = monotonic() + wait_s
            while True:
                answer.body = self._run(environ, _WAIT.sub(rb"\g<1>0", body) if wait_s else body, answer)
                left_s = deadline - monotonic()
                if left_s <= 0 or _MESSAGE.search(answer.body) or not answer.status.startswith("200"):
                    break
                self._changed.wait(min(left_s, _LOOK_AGAIN_S))
                if _left(environ):  # a message given to nobody would stay hidden for long
                    break
            if not _is_receive(environ, body):
                self._changed.notify_all()
        start_response(answer.status, answer.headers)
        return [answer.body]

    def _run(self, environ: Environ, body: bytes, answer: "_Answer") -> bytes:
        fresh = dict(environ) | {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        found = self._application(fresh, answer.start)
        try:
            return b"".join(found)
        finally:
            close = getattr(found, "close", None)
            if close is not None:
                close()


class _Answer:
    """The status line, headers and body of an answer that is not sent yet."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.body = b""

    def start(self, status: str, headers: list[tuple[str, str]], _failure: Any = None) -> None:
        """WSGI's ``start_response``."""
        self.status, self.headers = status, headers


def _left(environ: Environ) -> bool:
    """Whether the caller has closed its connection, or died."""
    connection = environ.get("werkzeug.socket")
    if connection is None or not select.select([connection], [], [], 0)[0]:
        return False
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


def _read(environ: Environ) -> bytes:
    """The whole body, plain where it came in chunks."""
    if environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked":
        environ.pop("HTTP_TRANSFER_ENCODING")
        return bytes(environ["wsgi.input"].read())
    length = environ.get("CONTENT_LENGTH") or "0"
    return bytes(environ["wsgi.input"].read(int(length)))


def _is_receive(environ: Environ, body: bytes) -> bool:
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    return bool(target == "AmazonSQS.ReceiveMessage") or (not target and b"Action=ReceiveMessage" in body[:4096])


def _wait_s(environ: Environ, body: bytes) -> int:
    if not _is_receive(environ, body):
        return 0
    found = _WAIT.search(body)
    return min(int(found[2]), 20) if found else 0
