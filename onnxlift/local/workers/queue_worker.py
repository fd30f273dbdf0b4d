"""The functions that queues feed, in a process of their own.

Started as ``python -m onnxlift.local.workers.queue_worker CONFIG``.

As in Lambda, one that dies takes nothing along: its messages come again, and ``Workers`` starts
another.
"""

import argparse
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from onnxlift.artifact import read_tiers
from onnxlift.config import load_config
from onnxlift.local import child
from onnxlift.local.functions.poller import Poller
from onnxlift.local.functions.wiring import JOB_FUNCTIONS, load_handlers
from onnxlift.topology import WORKER, escalations, sources

MODULE: Final = "onnxlift.local.workers.queue_worker"
RESTART_AFTER_S: Final = 0.2
FINISH_WITHIN_S: Final = 4.0
log = logging.getLogger("onnxlift.local")


class Workers:
    """Some processes of a module; one that ends by itself is replaced."""

    def __init__(
        self, count: int, arguments: Sequence[str], environ: Mapping[str, str], module: str = MODULE
    ) -> None:
        self._module, self._arguments = module, tuple(arguments)
        self._environ = dict(environ)
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep_one, name=f"{module}-{number}")
            for number in range(count)
        ]

    def start(self) -> None:
        """Start them all."""
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_why: object) -> None:
        """Let each finish what it works on, within a bounded time."""
        self._stopped.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _keep_one(self) -> None:
        while not self._stopped.is_set():
            with child.running(self._module, self._arguments, self._environ) as process:
                while process.poll() is None and not self._stopped.wait(RESTART_AFTER_S):
                    pass
            if not self._stopped.is_set():
                log.warning(
                    "worker process %d ended with status %s; starting another",
                    process.pid,
                    process.returncode,
                )


def main() -> None:
    """Poll every queue until the parent is gone; the functions find their settings in the
    environment.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    config = load_config(parser.parse_args().config)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    stopped = threading.Event()
    child.when_orphaned(stopped.set)
    import boto3  # 150 ms in which the parent need not wait

    handlers, sqs = load_handlers(JOB_FUNCTIONS), boto3.client("sqs")
    tiers = read_tiers(config)
    found = (*sources(config, config.models, tiers), *escalations(config, config.models, tiers))
    pollers = [
        Poller(source, handlers[source.function], sqs)
        for source in found
        if source.function != WORKER
    ]
    for poller in pollers:
        threading.Thread(
            target=poller.run, args=(stopped,), name=poller.source.queue, daemon=True
        ).start()
    stopped.wait()
    _let_finish(pollers)


def _let_finish(pollers: Sequence[Poller]) -> NoReturn:
    """Wait for the calls that run; what a longer one holds comes again when its lease has run
    out.
    """
    deadline = time.monotonic() + FINISH_WITHIN_S
    for poller in pollers:
        poller.busy.acquire(timeout=max(0, deadline - time.monotonic()))
    os._exit(0)  # the threads wait for messages, which nobody will work on


if __name__ == "__main__":
    main()
