"""The worker as a whole: its threads, and the one loop that watches over them until it is asked to
stop.
"""

import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final

from gpu_fallback import health
from gpu_fallback.loop import Loop
from gpu_fallback.messages.heartbeat import OVERDUE, Heartbeat, sort_out
from gpu_fallback.messages.in_flight import Holding, Holdings
from gpu_fallback.messages.receiver import Receiver
from gpu_fallback.metrics import Metrics
from gpu_fallback.pipeline.plan import STOPPING, Plan
from gpu_fallback.pipeline.stages import Pipeline
from gpu_fallback.protection import Protection, agent
from onnxlift_runtime import telemetry
from onnxlift_runtime.dataplane.batching import Runner
from onnxlift_runtime.errors import ConfigInvalid, ModelNotFound, ModelUnavailable
from onnxlift_runtime.jobservice.notifier import open_notifier
from onnxlift_runtime.jobservice.wiring import connect
from onnxlift_runtime.jobservice.worker import Worker
from onnxlift_runtime.names import GPU
from onnxlift_runtime.settings import Settings, WorkerSettings

TICK_S: Final = 0.1
MEASURE_EVERY_S: Final = 10.0
LONG_POLL_S: Final = 20
# a call that is tried four times with its time limit of 25 seconds, and what it waits between
NETWORK_S: Final = 120.0
GIVE_BACK_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Timings:
    """How long things take; seconds.

    ``visibility_s`` is how long a message stays hidden, and a dead worker's jobs wait: a third of
    it lies between two heartbeats. The lease is shorter, so that a message which comes again finds
    its job free.
    """

    visibility_s: int = 120
    stop_within_s: float = 120.0

    @property
    def lease_ms(self) -> int:
        """How long a claim lasts, in milliseconds."""
        return self.visibility_s * 800

    @property
    def beat_s(self) -> float:
        """How often what is held is kept for another while."""
        return self.visibility_s / 3

    @property
    def poll_s(self) -> int:
        """How long a receiver waits for a message: a stop has to wait for it."""
        return max(1, min(LONG_POLL_S, int(self.stop_within_s / 4)))

    @property
    def compute_within_s(self) -> float:
        """How long after it was asked to stop the worker lets the device compute; then there is
        time to give back.
        """
        return self.stop_within_s - max(1.0, min(10.0, self.stop_within_s / 4))


class GpuWorker:
    """A worker of some models' queues: ``run`` works until ``stop`` is called and returns the exit
    status.

    It receives, gathers, runs and publishes in threads; the thread of ``run`` watches. It ends with
    1 where an inference hangs or a thread breaks, so that whoever started the process starts
    another.
    """

    def __init__(
        self,
        core: Worker,
        told: WorkerSettings,
        models: Sequence[str],
        service: str,
        visibility_s: int = 120,
    ) -> None:
        """``models`` are those whose queues it works on, ``service`` is the name that its metrics
        carry.

        Raises ``ConfigInvalid`` for a model that the engine does not know.
        """
        core = replace(core, tier=GPU)
        self._timings = Timings(visibility_s, float(told.stop_within_s))
        self._told = told
        self._metrics = Metrics(service)
        max_rows = max(1, min(told.max_batch_size, _widest(core.engine, models)))
        self._holdings = Holdings(max_rows)
        plan = Plan(max_rows, told.max_wait_ms, self._timings.lease_ms, told.timeout_s)
        self._pipeline = Pipeline(core, self._holdings, plan, self._metrics, self._report)
        self._protection = Protection(agent(os.environ))
        self._receivers = {
            model: Receiver(
                core.service.queues,
                model,
                self._holdings,
                self._pipeline.take,
                self._timings.poll_s,
                visibility_s,
                lambda: self._protection.resting or self._pipeline.admission.closed,
            )
            for model in models
        }
        self._polls = [
            Loop(f"receive-{name}", found.step, NETWORK_S)
            for name, found in self._receivers.items()
        ]
        self._heartbeat = Heartbeat(core, visibility_s, self._timings.lease_ms, self._pipeline.drop)
        self._beat_at_s = monotonic() + self._timings.beat_s
        self._others = [
            Loop("heartbeat", self._keep, visibility_s + NETWORK_S),
            Loop("protection", self._protect, NETWORK_S),
        ]
        self._asked_to_stop = False

    def stop(self) -> None:
        """Ask it to stop; safe in a signal handler, and as often as one likes."""
        self._asked_to_stop = True

    def run(self) -> int:
        """Work until asked to stop; 0 where it was, 1 where it cannot go on."""
        loops = [*self._pipeline.loops, *self._polls, *self._others]
        for loop in loops:
            loop.start()
        telemetry.log(
            "info",
            "worker started",
            models=", ".join(self._receivers),
            holds=self._holdings.capacity,
        )
        status = self._watch(loops)
        self._metrics.write()
        telemetry.log("info", "worker stopped", status=status, left=len(self._holdings))
        return status

    def _watch(self, loops: Sequence[Loop]) -> int:
        touch_at_s = measure_at_s = 0.0
        while not self._asked_to_stop:
            now_s = monotonic()
            if hung := self._pipeline.hung():
                return self._abandon(
                    hung, f"the inference took longer than {self._told.timeout_s} seconds"
                )
            if self._pipeline.device_lost:
                return self._abandon([], self._pipeline.device_lost)
            if any(loop.broken for loop in loops):
                self._drain()
                return 1
            if now_s >= touch_at_s and not any(loop.stuck for loop in loops):
                health.touch(self._told.health_file)
                touch_at_s = now_s + health.TOUCH_EVERY_S
            if now_s >= measure_at_s:
                self._metrics.write()
                measure_at_s = now_s + MEASURE_EVERY_S
            time.sleep(TICK_S)
        self._drain()
        return 0

    def _drain(self) -> None:
        """Receive no more, give back what has not begun, let the device finish if it can, give back
        the rest.
        """
        began_s = monotonic()
        telemetry.log("info", "worker stops", held=len(self._holdings))
        for loop in self._polls:
            loop.end()
        self._pipeline.stop()
        self._await_empty(began_s + self._timings.compute_within_s)
        for holding in self._holdings.snapshot():
            self._pipeline.give_back(holding, STOPPING)
        self._await_empty(began_s + self._timings.stop_within_s - 0.5)

    def _abandon(self, hung: Sequence[Holding], why: str) -> int:
        """Give everything back: what hangs has used its attempt, what did not begin has not."""
        telemetry.log("error", "worker gives up", hung=len(hung), why=why)
        for loop in self._polls:
            loop.end()
        for holding in hung:
            self._pipeline.give_back(holding, why, at_fault=True)
        self._pipeline.stop()
        for holding in self._holdings.snapshot():
            self._pipeline.give_back(holding, STOPPING)
        self._await_empty(monotonic() + GIVE_BACK_S)
        return 1

    def _await_empty(self, until_s: float) -> None:
        """Wait until nothing is held and nobody receives."""
        while monotonic() < until_s and (
            len(self._holdings) or any(loop.running for loop in self._polls)
        ):
            time.sleep(TICK_S / 2)

    def _keep(self) -> None:
        """One step of the heartbeat: nothing until it is time."""
        if monotonic() < self._beat_at_s:
            time.sleep(TICK_S)
            return
        self._beat_at_s = monotonic() + self._timings.beat_s
        kept, overdue = sort_out(self._holdings.kept(), monotonic(), self._timings.visibility_s)
        for holding in overdue:
            self._pipeline.give_back(holding, OVERDUE, at_fault=holding.started)
        self._heartbeat.beat(kept)

    def _protect(self) -> None:
        time.sleep(TICK_S)
        self._protection.update(held=len(self._holdings) > 0)

    def _report(self, model: str, unavailable: ModelUnavailable | None) -> None:
        if model in self._receivers:
            self._receivers[model].report(unavailable)


def open_worker(environ: Mapping[str, str], engine: Runner) -> GpuWorker:
    """The worker that the environment describes; raises ``ConfigInvalid``."""
    settings, told = Settings.from_env(environ), WorkerSettings.from_env(environ)
    models = served(told)
    _widest(engine, models)  # a model that it does not know is told before anything is connected
    service = connect(settings)
    owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    core = Worker(
        service, engine, open_notifier(settings, service), owner, engine.limits.max_tensor_bytes
    )
    return GpuWorker(core, told, models, settings.service)


def served(told: WorkerSettings) -> tuple[str, ...]:
    """The models whose queues it works on; raises ``ConfigInvalid`` where none is named."""
    models = tuple(dict.fromkeys(filter(None, told.serve.split(","))))
    if not models:
        raise ConfigInvalid(
            "environment variable ONNXLIFT_SERVE is empty, expected the names of models to serve"
        )
    return models


def _widest(engine: Runner, models: Sequence[str]) -> int:
    """The most rows of different jobs that any version of these models takes at once."""
    try:
        return max(
            manifest.rows_together
            for model in models
            for manifest in engine.catalog.versions(model)
        )
    except ModelNotFound as error:
        raise ConfigInvalid(f"environment variable ONNXLIFT_SERVE: {error}") from error
