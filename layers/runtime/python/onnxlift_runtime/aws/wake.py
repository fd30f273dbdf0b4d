"""GPU workers that sleep: the first job for them asks ECS for one, before any scaling rule has seen
its message.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.exceptions import ClientError

from onnxlift_runtime import telemetry
from onnxlift_runtime.errors import StoreUnavailable
from onnxlift_runtime.jobs.job import Job
from onnxlift_runtime.names import GPU, gpu_service_name

LOOK_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Look:
    """When a model's workers were looked at, and whether one of them ran."""

    at_s: float
    running: bool


@dataclass(frozen=True, slots=True)
class Alarm:
    """Wakes the workers in ``cluster``, looking at most once a minute at each model's; without a
    cluster all are awake.

    Scaling rules look once a minute too, so it saves a minute or two. Whatever fails is logged, and
    left to them.
    """

    client: Callable[[], Any]
    cluster: str
    service: str
    monotonic: Callable[[], float] = time.monotonic
    looks: dict[str, Look] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wake(self, job: Job) -> None:
        """Have a worker started for a job of the GPU tier where none is wanted yet; other jobs need
        nobody.
        """
        if job.tier == GPU:
            self.is_awake(job.model)

    def is_awake(self, model: str) -> bool:
        """Whether a worker of the model ran when it was last looked at; one that is not wanted yet
        is now.
        """
        if not self.cluster:
            return True
        with self.lock:
            look = self.looks.get(model)
            if look is None or self.monotonic() - look.at_s >= LOOK_EVERY_S:
                look = self.looks[model] = Look(self.monotonic(), self._look(model))
        return look.running

    def _look(self, model: str) -> bool:
        name = gpu_service_name(self.service, model)
        try:
            found = self.client().describe_services(cluster=self.cluster, services=[name])[
                "services"
            ]
            if found and not found[0]["desiredCount"]:
                self.client().update_service(cluster=self.cluster, service=name, desiredCount=1)
                telemetry.log("info", "GPU worker woken", model=model)
            return bool(found and found[0]["runningCount"])
        except (ClientError, StoreUnavailable) as error:
            telemetry.log("warning", "GPU worker not woken", model=model, why=str(error))
            return False
