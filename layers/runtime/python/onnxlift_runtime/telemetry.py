"""What a function tells its operator: one JSON line per event on standard output, which Lambda sends to its log group.

The predict path keeps to this module: a logging library costs 40 ms of every cold start.
"""

import json
import sys
import time
from typing import Final

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_threshold: list[int] = [LEVELS["info"]]


def configure(level: str) -> None:
    """Drop lines below ``level``, a word of ``LEVELS`` in any case; an unknown word keeps everything."""
    _threshold[0] = LEVELS.get(level.lower(), 0)


def log(level: str, message: str, **fields: str | int | float | bool | None) -> None:
    """Write one line; never put tensors or payloads into ``fields``."""
    if LEVELS[level] < _threshold[0]:
        return
    now = time.time()
    timestamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
    line = json.dumps({"timestamp": timestamp, "level": level.upper(), "message": message, **fields}, default=str)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
