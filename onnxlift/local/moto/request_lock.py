"""One request to moto at a time, and waiting that costs nothing.

moto keeps its state in plain dictionaries: two threads inside it can both find a DynamoDB condition
true. A long poll of SQS inside moto would also hold everybody up, so it is taken apart: look, wait
until a request may have brought a message, look again. A look takes 2 ms in which nobody else gets
in, so one poll is woken for a message, not all, and none looks into a queue that has nothing to
give.
"""

import io
import re
import select
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable
from threading import Condition, Lock
from time import monotonic
from typing import Any, Final, TypeAlias

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
Application: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]
HasMessage: TypeAlias = Callable[[str], bool]

_WAIT: Final = re.compile(rb'("WaitTimeSeconds"\s*:\s*|(?:^|&)WaitTimeSeconds=)(\d+)')
_MESSAGE: Final = re.compile(rb'"Messages"|<Message>')
_QUEUE: Final = re.compile(rb'"QueueUrl"\s*:\s*"([^"]*)"')
_SEND: Final = re.compile(r"AmazonSQS\.(Send|ChangeMessageVisibility)")
_MOST_AT_ONCE: Final = 10  # messages in one batch of SQS
# Whatever is not known to bring nothing may bring a message to any queue: an object that S3
# announces, for one.
_BRINGS_NOTHING: Final = re.compile(r"DynamoDB_|AmazonSQS\.|AWSEvents\.PutEvents|secretsmanager\.")
# A message whose visibility timeout has passed announces itself to nobody, nor does one that a rule
# of the user's own makes of an event on the bus.
_LOOK_AGAIN_S: Final = 2.0


class RequestLock:
    """A WSGI application that lets one request at a time into ``application``.

    ``has_message`` takes a queue's URL and says whether a look into the queue can find anything.
    """

    def __init__(
        self, application: Application, has_message: HasMessage = lambda _url: True
    ) -> None:
        self._application, self._has_message = application, has_message
        self._inside = Lock()
        self._polls: defaultdict[bytes, Condition] = defaultdict(lambda: Condition(self._inside))

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request; a long poll waits outside."""
        body = _read(environ)
        with self._inside:
            wait_s = _wait_s(environ, body)
            answer = self._poll(environ, body, wait_s) if wait_s else self._run(environ, body)
            self._wake(environ, body)
        start_response(answer.status, answer.headers)
        return [answer.body]

    def _poll(self, environ: Environ, body: bytes, wait_s: int) -> "_Answer":
        queue, deadline = _queue(body), monotonic() + wait_s
        at_once, changed = _WAIT.sub(rb"\g<1>0", body), self._polls[queue]
        answer = self._run(environ, at_once)
        while answer.is_empty and (left_s := deadline - monotonic()) > 0:
            changed.wait(min(left_s, _LOOK_AGAIN_S))
            if _left(environ):  # a message given to nobody would stay hidden for long
                changed.notify()
                break
            if self._has_message(queue.decode()):
                answer = self._run(environ, at_once)
        return answer

    def _wake(self, environ: Environ, body: bytes) -> None:
        """Have one poll of each queue look again that this request may have brought a message
        to.
        """
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if _SEND.match(target):
            self._polls[_queue(body)].notify(_MOST_AT_ONCE if target.endswith("Batch") else 1)
        elif not _BRINGS_NOTHING.match(target) and environ.get("REQUEST_METHOD") not in {
            "GET",
            "HEAD",
        }:
            for changed in self._polls.values():
                changed.notify()

    def _run(self, environ: Environ, body: bytes) -> "_Answer":
        answer = _Answer()
        fresh = dict(environ) | {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        found = self._application(fresh, answer.start)
        try:
            answer.body = b"".join(found)
        finally:
            close = getattr(found, "close", None)
            if close is not None:
                close()
        return answer


class _Answer:
    """The status line, headers and body of an answer that is not sent yet."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.body = b""

    @property
    def is_empty(self) -> bool:
        """Whether a receive went well and found no message."""
        return self.status.startswith("200") and not _MESSAGE.search(self.body)

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


def _queue(body: bytes) -> bytes:
    """The URL of the queue that a request is about; nothing where an older caller names it another
    way.
    """
    found = _QUEUE.search(body)
    return found[1] if found else b""


def _is_receive(environ: Environ, body: bytes) -> bool:
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if not target:  # the query protocol, which older callers speak
        return b"Action=ReceiveMessage" in body[:4096]
    return bool(target == "AmazonSQS.ReceiveMessage")


def _wait_s(environ: Environ, body: bytes) -> int:
    if not _is_receive(environ, body):
        return 0
    found = _WAIT.search(body)
    return min(int(found[2]), 20) if found else 0
