"""A local HTTP server that says when it can answer and ends within a bounded time."""

import contextlib
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from onnxlift.local.functions.gateway import Gateway
from onnxlift_runtime.errors import ConfigInvalid
from onnxlift_runtime.http.encoding import encode_json

GRACE_S: Final = 4
MAX_HEADER_BYTES: Final = 64 * 1024
INTERRUPTED: Final = 128 + signal.SIGINT
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, with port 0 on any free port; raises ``ConfigInvalid`` where the address
    cannot be had.
    """
    try:
        return _bind(host, port)
    except (OSError, OverflowError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        foreign = (
            isinstance(error, socket.gaierror | UnicodeError)
            or getattr(error, "errno", 0) == errno.EADDRNOTAVAIL
        )
        advice = "choose another --port, or 0 for any free one"
        if foreign:
            advice = "--host takes an address of this machine"
        raise ConfigInvalid(f"cannot listen on {host} port {port}: {why}; {advice}") from error


def _bind(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, target = found[0]
    # The protocol must be named: asyncio turns Nagle's algorithm off only where it is TCP, and with
    # Nagle every answer on a kept-alive connection waits 40 ms for the caller's delayed
    # acknowledgement.
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target)
        sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock


def address(sock: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(gateway: Gateway, sock: socket.socket, on_ready: Callable[[], None]) -> int:
    """Serve until SIGTERM or Ctrl-C, then give running requests ``GRACE_S`` seconds; returns the
    exit status.
    """
    server = _Server(_config(gateway), on_ready)
    server.run(sockets=[sock])
    gateway.close()
    return INTERRUPTED if server.stopped_by == signal.SIGINT else 0


def _config(gateway: Gateway) -> uvicorn.Config:
    return uvicorn.Config(
        gateway,
        http=_Protocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )


class _Server(uvicorn.Server):
    """Uvicorn's server, which reports that it is ready and leaves the exit status to its caller."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self.stopped_by: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn raises the signal again after it has ended, which would replace the exit
        status.
        """
        numbers = [number for number in _STOPPING if not _ignored(number)]
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.stopped_by = self.stopped_by or sig
        super().handle_exit(sig, frame)


def _ignored(number: signal.Signals) -> bool:
    """Whether the end of the terminal is none of our concern, as under nohup."""
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


class _Protocol(H11Protocol):
    """Uvicorn's HTTP/1.1, with the one error form also for what is no HTTP at all."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Answer 400 and close, unless an answer is on its way already."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            why = (
                f"the request is not HTTP/1.1, or its headers are larger than "
                f"{MAX_HEADER_BYTES} bytes"
            )
            headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
            body = encode_json({"error": why})
            headers.append((b"content-length", str(len(body)).encode()))
            for event in (
                h11.Response(status_code=400, headers=headers),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
