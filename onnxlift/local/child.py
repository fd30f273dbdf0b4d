"""A process of ours that never outlives this one: it ends when its standard input does."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

STOP_WITHIN_S: Final = 8


def start(
    module: str, arguments: Sequence[str], environ: Mapping[str, str], pass_fds: Sequence[int] = ()
) -> "subprocess.Popen[bytes]":
    """Start ``python -m module``; a signal for this process group does not reach it, and it writes
    to our stderr.
    """
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=sys.stderr,
        env=dict(environ),
        pass_fds=pass_fds,
        start_new_session=True,
    )


def stop(process: "subprocess.Popen[bytes]") -> int:
    """Ask the process to end, by force where that takes too long; returns its exit status."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        return process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@contextlib.contextmanager
def running(
    module: str, arguments: Sequence[str], environ: Mapping[str, str], pass_fds: Sequence[int] = ()
) -> Iterator["subprocess.Popen[bytes]"]:
    """A child for as long as the block lasts."""
    process = start(module, arguments, environ, pass_fds)
    try:
        yield process
    finally:
        stop(process)


def when_orphaned(end: Callable[[], None]) -> None:
    """In the child: call ``end`` in a thread once the parent closed its end, by intention or by
    dying.
    """

    def wait() -> None:
        while os.read(0, 1024):
            pass
        end()

    threading.Thread(target=wait, name="parent", daemon=True).start()
