"""What EventBridge's schedule does: hand a function an event every so often."""

import logging
import threading
from collections.abc import Mapping
from typing import Any

from onnxlift.local.functions.context import LambdaContext
from onnxlift.local.functions.gateway import MEMORY_MB
from onnxlift.local.functions.wiring import Handler
from onnxlift.topology import CONTROL_TIMEOUT_S

log = logging.getLogger("onnxlift.local")


class Schedule:
    """Call ``control`` with one event now, and again ``every_s`` seconds after each call has
    ended.
    """

    def __init__(self, control: Handler, event: Mapping[str, Any], every_s: float) -> None:
        self._control, self._event, self._every_s = control, event, every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schedule", daemon=True)

    def start(self) -> None:
        """Start calling."""
        self._thread.start()

    def stop(self) -> None:
        """Call no more; a call that runs is left to end by itself."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._control(self._event, LambdaContext("control", MEMORY_MB, CONTROL_TIMEOUT_S))
            except Exception:
                if not self._stopped.is_set():
                    log.exception("the scheduled event %s failed", dict(self._event))
            self._stopped.wait(self._every_s)
