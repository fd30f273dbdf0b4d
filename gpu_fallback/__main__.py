"""``python -m gpu_fallback``: work on the queues of the models that the environment names, until
SIGTERM.
"""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from gpu_fallback.models.loading import Models
from gpu_fallback.worker import GpuWorker, open_worker
from onnxlift_runtime import telemetry
from onnxlift_runtime.errors import OnnxliftError
from onnxlift_runtime.settings import Settings, WorkerSettings


def main() -> NoReturn:
    """Open the models, work, and leave; what cannot be started at all is one line and status 1."""
    running: list[GpuWorker] = []

    def stop(_number: int, _frame: FrameType | None) -> None:
        if not running:
            leave(0)  # nothing is held before it runs
        running[0].stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        settings = Settings.from_env(os.environ)
        telemetry.configure(settings.log_level)
        worker = open_worker(os.environ, Models.open(settings, WorkerSettings.from_env(os.environ)))
        running.append(worker)
        status = worker.run()
    except OnnxliftError as error:
        status = 1
        telemetry.log("error", "worker not started", why=str(error))
    except Exception as error:  # such as a full disk, to which the health file cannot be written
        status = 1
        telemetry.log("error", "worker broke", why=repr(error))
    leave(status)


def leave(status: int) -> NoReturn:
    """End the process at once: threads that wait for the network, or hang on the device, cannot be
    ended.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
