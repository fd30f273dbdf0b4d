"""A local service in a process of its own, for as long as a ``with`` block lasts."""

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from onnxlift.local.server import GRACE_S
from onnxlift_runtime.errors import ServiceUnreachable

READY: Final = "listening on "
COMMAND: Final = (sys.executable, "-m", "onnxlift", "serve")


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that answers: its URL, what it printed before it was ready, and its process."""

    url: str
    lines: tuple[str, ...]
    process: subprocess.Popen[str]
    log: Path


@contextlib.contextmanager
def running_service(config_path: Path, arguments: Sequence[str] = ()) -> Iterator[RunningService]:
    """Start ``onnxlift serve`` on a free port, wait until it answers, and end it when the block is
    left.

    Raises ``ServiceUnreachable`` with the command's own words where it ends before it is ready.
    """
    command = [*COMMAND, "--config", str(config_path), "--port", "0", *arguments]
    with tempfile.TemporaryDirectory(prefix="onnxlift-") as folder:
        log = Path(folder) / "service.log"
        with (
            log.open("w") as errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,  # noqa: S603  # our own command
        ):
            try:
                lines, url = _wait_until_ready(process, log)
                yield RunningService(url, lines, process, log)
            finally:
                stop(process)


def stop(process: subprocess.Popen[str]) -> int:
    """End the process as an operator would, by force where that takes too long; returns its exit
    status.
    """
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(GRACE_S + 6)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _wait_until_ready(process: subprocess.Popen[str], log: Path) -> tuple[tuple[str, ...], str]:
    output: IO[str] | None = process.stdout
    lines: list[str] = []
    for line in output or ():
        if line.startswith(READY):
            return tuple(lines), line.removeprefix(READY).strip()
        lines.append(line.rstrip("\n"))
    process.wait()
    raise ServiceUnreachable(
        f"`onnxlift serve` ended before it was ready: {log.read_text().strip() or lines}"
    )
