"""Whoever kills workers."""

import contextlib
import os
import random
import signal
import threading

import psutil

from onnxlift.local.workers.queue_worker import MODULE


class Killer:
    """Kill one worker process of a service, chosen at random, about every ``every_s`` seconds while
    the block lasts.
    """

    def __init__(self, service_pid: int, every_s: float, seed: int) -> None:
        self._service = psutil.Process(service_pid)
        self._every_s = every_s
        self._random = random.Random(seed)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.kills = 0

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *_why: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s * self._random.uniform(0.5, 1.5)):
            with contextlib.suppress(psutil.Error, OSError):
                workers = [child for child in self._service.children() if MODULE in child.cmdline()]
                if workers:
                    os.kill(self._random.choice(workers).pid, signal.SIGKILL)
                    self.kills += 1
