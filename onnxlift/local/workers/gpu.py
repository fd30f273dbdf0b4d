"""The GPU worker on this machine's processor, in a process of its own: ``python -m
onnxlift.local.workers.gpu``.

It is the same program as in AWS; only its end comes from another side: from the parent's.
"""

import os
import signal
from pathlib import Path
from typing import Final

from onnxlift.artifact import gpu_placements
from onnxlift.config import Config
from onnxlift.local import child
from onnxlift.local.workers.queue_worker import Workers
from onnxlift_runtime.errors import ConfigInvalid
from onnxlift_runtime.settings import WorkerSettings

MODULE: Final = "onnxlift.local.workers.gpu"
STOP_WITHIN_S: Final = 6  # within the parent's patience


def worker_settings(config: Config, scratch: Path) -> WorkerSettings | None:
    """What the worker of all models with a GPU tier is told, or None where there is none; it may
    write to ``scratch``.

    The weights are those of the artifacts, and there need not be a GPU.
    """
    models = gpu_placements(config)
    if not models or config.gpu.backend != "ecs":
        return None
    return WorkerSettings(
        serve=",".join(models),
        max_batch_size=config.gpu.max_batch_size,
        max_wait_ms=config.gpu.max_wait_ms,
        timeout_s=config.gpu.timeout_s,
        allow_cpu=True,
        stop_within_s=STOP_WITHIN_S,
        health_file=scratch / "healthy",
    )


def gpu_workers(config: Config, scratch: Path) -> Workers:
    """The processes of the GPU worker: one, or none where no model has the tier."""
    told = worker_settings(config, scratch)
    return Workers(1 if told else 0, (), {**os.environ, **(told.to_env() if told else {})}, MODULE)


def main() -> None:
    """Work until the parent is gone; settings come through the environment."""
    child.when_orphaned(lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        from gpu_fallback.__main__ import main as work
    except ModuleNotFoundError as error:
        if error.name not in {"gpu_fallback", "gpu_fallback.__main__"}:
            raise
        raise ConfigInvalid(
            "the GPU worker is not installed; run `onnxlift serve` in a clone of onnxlift's "
            "repository"
        ) from error
    work()


if __name__ == "__main__":
    main()
