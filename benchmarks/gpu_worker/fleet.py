"""Some worker processes, and whoever ends them at random moments."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MODULE: Final = "benchmarks.gpu_worker.process"
START_WITHIN_S: Final = 60.0


@dataclass
class Ends:
    """How processes ended: how many were killed, and how long each took that was asked to; what
    went wrong.
    """

    killed: int = 0
    drains_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Fleet:
    """``count`` worker processes while the block lasts; one that ended is replaced by another.

    About every ``every_s`` seconds one of them is killed (SIGKILL) or asked to stop (SIGTERM), by
    turns.
    """

    def __init__(
        self,
        count: int,
        environ: Mapping[str, str],
        every_s: float,
        stop_within_s: float,
        log: Path,
        seed: int,
    ) -> None:
        self._count = count
        self._environ = dict(environ)
        self._every_s = every_s
        self._stop_within_s = stop_within_s
        self._log = log
        self._dice = random.Random(seed)
        self._done = threading.Event()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._thread = threading.Thread(target=self._run)
        self.ends = Ends()

    def __enter__(self) -> "Fleet":
        for number in range(self._count):
            self._start(number)
        self._thread.start()
        return self

    def __exit__(self, *_why: object) -> None:
        self._done.set()
        self._thread.join()
        for number in self._processes:
            self._end(number, signal.SIGTERM)

    def _run(self) -> None:
        turn = 0
        while not self._done.wait(self._every_s * self._dice.uniform(0.5, 1.5)):
            number = self._dice.randrange(self._count)
            self._end(number, (signal.SIGKILL, signal.SIGTERM)[turn % 2])
            self._start(number)
            turn += 1

    def _start(self, number: int) -> None:
        """Start one, and wait until it works: a process that is killed while it starts shows
        nothing.
        """
        path = self._log.with_suffix(f".{number}.{time.monotonic_ns()}")
        with path.open("wb") as file:
            self._processes[number] = subprocess.Popen(
                [sys.executable, "-m", MODULE], env=self._environ, stdout=file
            )
        deadline = time.monotonic() + START_WITHIN_S
        while b"ready" not in path.read_bytes():
            if time.monotonic() > deadline or self._processes[number].poll() is not None:
                raise RuntimeError(f"worker {number} did not start; see {path}")
            time.sleep(0.02)

    def _end(self, number: int, how: signal.Signals) -> None:
        process, asked_s = self._processes[number], time.monotonic()
        if process.poll() is not None:
            self.ends.problems.append(
                f"worker {number} ended by itself with status {process.returncode}"
            )
            return
        process.send_signal(how)
        try:
            status = process.wait(self._stop_within_s)
        except subprocess.TimeoutExpired:
            self.ends.problems.append(
                f"worker {number} did not stop within {self._stop_within_s} s"
            )
            process.kill()
            process.wait()
            return
        if how is signal.SIGKILL:
            self.ends.killed += 1
            return
        self.ends.drains_s.append(time.monotonic() - asked_s)
        if status:
            self.ends.problems.append(f"worker {number} stopped with status {status}")
