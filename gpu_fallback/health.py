"""Whether the worker works: ``python -m gpu_fallback.health`` exits 0 or 1, which is what ECS asks
the container.

The worker touches a file as long as all of its threads make progress; a file that was not touched
lately tells that one does not.
"""

import os
import sys
import time
from pathlib import Path
from typing import Final

from onnxlift_runtime.settings import WorkerSettings

TOUCH_EVERY_S: Final = 5.0
STALE_AFTER_S: Final = 60.0


def touch(path: Path) -> None:
    """Say that all is well now."""
    path.touch()
    os.utime(path)


def is_healthy(path: Path, now_s: float) -> bool:
    """Whether the file was touched lately; ``now_s`` is seconds since the epoch."""
    try:
        return now_s - path.stat().st_mtime < STALE_AFTER_S
    except OSError:
        return False


def main() -> int:
    """Look, and return the exit status."""
    path = WorkerSettings.from_env(os.environ).health_file
    if is_healthy(path, time.time()):
        return 0
    sys.stderr.write(f"the worker did not touch {path} within {STALE_AFTER_S:.0f} seconds\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
