"""``python -m benchmarks.gpu_worker.process``: the worker with a clock that jumps and a model that
takes time.

What it is told stands in the environment: ``CHAOS_JUMP_S`` is how far its clock is off at most,
another way every few seconds; ``CHAOS_RUN_S`` how much longer a run takes; ``CHAOS_VISIBILITY_S``
how long its messages stay hidden.
"""

import os
import random
import signal
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gpu_fallback.__main__ import leave
from gpu_fallback.worker import GpuWorker, served
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.dataplane.engine import Engine
from onnxlift_runtime.jobservice.notifier import open_notifier
from onnxlift_runtime.jobservice.service import now_ms
from onnxlift_runtime.jobservice.wiring import connect
from onnxlift_runtime.jobservice.worker import Worker
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.settings import Limits, Settings, WorkerSettings
from onnxlift_runtime.tensors.arrays import Array

JUMP_EVERY_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Slow:
    """An engine that takes longer."""

    engine: Engine
    run_s: float

    @property
    def catalog(self) -> Catalog:
        """Its models."""
        return self.engine.catalog

    @property
    def limits(self) -> Limits:
        """Its bounds."""
        return self.engine.limits

    def prefetch(self, manifest: Manifest) -> None:
        """Have a model ready."""
        self.engine.prefetch(manifest)

    def run(
        self, manifest: Manifest, feeds: Mapping[str, Array], outputs: Sequence[str]
    ) -> dict[str, Array]:
        """Run, after a while."""
        time.sleep(self.run_s)
        return self.engine.run(manifest, feeds, outputs)


def jumping_ms(jump_s: float, seed: int) -> int:
    """The time of a clock that is off by up to ``jump_s``, by another amount every few seconds."""
    offset_s = random.Random(seed + int(time.monotonic() / JUMP_EVERY_S)).uniform(-jump_s, jump_s)
    return now_ms() + round(1000 * offset_s)


def main() -> None:
    """Work until SIGTERM, as ``python -m gpu_fallback`` does."""
    environ = os.environ
    settings, told = Settings.from_env(environ), WorkerSettings.from_env(environ)
    jump_s, seed = float(environ["CHAOS_JUMP_S"]), os.getpid()
    service = replace(connect(settings), clock=lambda: jumping_ms(jump_s, seed))
    engine = Slow(Engine.open(settings), float(environ["CHAOS_RUN_S"]))
    core = Worker(
        service,
        engine,
        open_notifier(settings, service),
        uuid.uuid4().hex,
        engine.limits.max_tensor_bytes,
    )
    worker = GpuWorker(
        core, told, served(told), settings.service, int(environ["CHAOS_VISIBILITY_S"])
    )
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    print("ready", flush=True)
    leave(worker.run())


if __name__ == "__main__":
    main()
