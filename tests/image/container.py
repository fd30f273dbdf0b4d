"""A container that answers as a Lambda function does: its memory, its processor share, its file
system, its user.
"""

import json
import re
import socket
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.error import HTTPError

from infra.images.engine import OPEN_FILES, PROCESSES, ContainerEngine
from onnxlift_runtime.errors import ServiceUnreachable

EMULATOR: Final = "/usr/local/bin/aws-lambda-rie"
ENTRY_POINT: Final = "/lambda-entrypoint.sh"
PATH: Final = "/2015-03-31/functions/function/invocations"
MEMORY_OF_ONE_CPU_MB: Final = 1_769
USER: Final = "993:990"  # the one that Lambda itself takes
STARTS_WITHIN_S: Final = 30
ANSWERS_WITHIN_S: Final = 60
HARDENED: Final = (
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
)
LIMITS: Final = (
    f"--ulimit=nofile={OPEN_FILES}:{OPEN_FILES}",
    f"--ulimit=nproc={PROCESSES}:{PROCESSES}",
)


class FunctionFailed(Exception):
    """What Lambda reports as the function's failure, in the emulator's words."""


@dataclass(frozen=True, slots=True)
class RunningFunction:
    """The container, and the port of this machine at which the emulator takes events."""

    engine: ContainerEngine
    container: str
    port: int

    def invoke(self, event: Mapping[str, Any], _context: object = None) -> Any:
        """What the function answers; raises ``FunctionFailed`` where it ended without an answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{PATH}", json.dumps(event).encode()
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWERS_WITHIN_S) as answer:
                return json.loads(answer.read())
        except HTTPError as error:
            with error:
                told = error.read().decode()
            # The emulator says nothing where the function died before it was ready; its log does.
            raise FunctionFailed(
                told or (re.findall(r"error=(.*)", self.log()) or ["no reason"])[-1]
            ) from error

    def execute(self, code: str) -> str:
        """What Python prints for ``code`` inside the container."""
        return self.engine.run("exec", self.container, "python3", "-c", code)

    def log(self) -> str:
        """Everything that was logged, the emulator's lines included."""
        done = self.engine.attempt("logs", self.container)
        return done.stdout + done.stderr


@contextmanager
def running_function(
    engine: ContainerEngine,
    image: str,
    handler: str = "handlers.predict.handler",
    *,
    memory_mb: int = MEMORY_OF_ONE_CPU_MB,
    environ: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> Iterator[RunningFunction]:
    """A function of ``image`` for as long as the block lasts; nothing is loaded before the first
    event.

    It shares this machine's network, so that it reaches what listens on the loopback and nothing
    listens elsewhere.
    """
    port, runtime_port = _free_ports(2)
    told = {
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "60",
        **(environ or {}),
    }
    container = engine.run(
        "run",
        "--detach",
        "--network=host",
        f"--user={USER}",
        *_share(memory_mb),
        *HARDENED,
        *LIMITS,
        *(f"--env={name}={value}" for name, value in told.items()),
        f"--entrypoint={EMULATOR}",
        *options,
        image,
        f"--runtime-interface-emulator-address=127.0.0.1:{port}",
        f"--runtime-api-address=127.0.0.1:{runtime_port}",
        ENTRY_POINT,
        handler,
    )
    try:
        running = RunningFunction(engine, container, port)
        _wait_until_listening(running)
        yield running
    finally:
        engine.attempt(
            "rm", "--force", "--time=0" if engine.program == "podman" else "--volumes", container
        )


def _share(memory_mb: int) -> tuple[str, ...]:
    """Lambda gives one processor for each 1,769 MB, and no swap."""
    cpus = memory_mb / MEMORY_OF_ONE_CPU_MB
    return f"--memory={memory_mb}m", f"--memory-swap={memory_mb}m", f"--cpus={cpus:.3f}"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def _wait_until_listening(running: RunningFunction) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", running.port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise ServiceUnreachable(
        f"the emulator does not listen within {STARTS_WITHIN_S} s: {running.log()[-500:]}"
    )
