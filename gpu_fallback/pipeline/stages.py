"""A message's way through the worker: fetched and read, gathered with others, run, written and
told.

Threads that fetch and threads that publish stand before and after the one that computes, so that
the device waits for neither the table nor the bucket. Where the worker stops, or is asked for what
it cannot run, jobs go back with their attempt.
"""

import threading
from collections.abc import Callable
from functools import partial
from time import monotonic

from gpu_fallback.loop import LOOK_S, Loop, Stage
from gpu_fallback.messages.admission import Admission
from gpu_fallback.messages.in_flight import Holding, Holdings
from gpu_fallback.metrics import Metrics, Stopwatch
from gpu_fallback.pipeline.batcher import Batch, Batcher
from gpu_fallback.pipeline.plan import OPENING_S, STOPPING, STORE_STEP_S, WAITED, Plan
from gpu_fallback.pipeline.work_item import Part, group
from onnxlift_runtime import telemetry
from onnxlift_runtime.aws.queues import Message, backoff_s
from onnxlift_runtime.dataplane.batching import Feed, arrays_bytes, run_together
from onnxlift_runtime.dataplane.tasks import Answer
from onnxlift_runtime.errors import DeviceMissing, ModelUnavailable, OnnxliftError
from onnxlift_runtime.jobs.job import Job
from onnxlift_runtime.jobservice.worker import BROKEN, Outcome, Suspect, Worker


class Pipeline:
    """The stages, and what waits between them."""

    def __init__(
        self,
        core: Worker,
        holdings: Holdings,
        plan: Plan,
        metrics: Metrics,
        ran: Callable[[str, ModelUnavailable | None], None],
    ) -> None:
        """``ran`` is told each model that was asked for, and why it cannot run here for now where
        it cannot.
        """
        self._core = core
        self._holdings = holdings
        self._plan = plan
        self._metrics = metrics
        self._ran = ran
        self._batcher: Batcher[Part] = Batcher(plan.max_wait_ms)
        self._changed = threading.Condition()
        self._running: dict[int, tuple[float, list[Part]]] = {}
        self._stopping = False
        self.device_lost = ""  # why nothing can be computed any more
        self.admission = Admission(holdings, self._admit, partial(self.give_back, why=WAITED))
        self._loaders = Stage("load", plan.threads, STORE_STEP_S)
        self._publishers = Stage("publish", plan.threads, STORE_STEP_S)
        self._devices = [
            Loop(f"compute-{number}", partial(self._compute, number), plan.timeout_s + OPENING_S)
            for number in range(plan.devices)
        ]

    @property
    def loops(self) -> list[Loop]:
        """Every thread of it."""
        return [self.admission.loop, *self._loaders.loops, *self._devices, *self._publishers.loops]

    def take(self, message: Message) -> None:
        """Work on a message that was received just now."""
        self.admission.take(Holding(message, monotonic()))

    def hung(self) -> list[Holding]:
        """What is in inferences that take longer than they may."""
        with self._changed:
            late = [
                parts
                for began_s, parts in self._running.values()
                if monotonic() - began_s > self._plan.timeout_s
            ]
        return list({part.holding: None for parts in late for part in parts})

    def stop(self) -> None:
        """Begin nothing any more: what waits goes back at once, what computes goes on."""
        with self._changed:
            self._stopping = True
            waiting = {part.holding: None for part in self._batcher.clear()}
        self.admission.end()
        for holding in waiting:
            self.give_back(holding, STOPPING)

    def give_back(self, holding: Holding, why: str, *, at_fault: bool = False) -> None:
        """Have a job go back, with its attempt unless that was ``at_fault``; what it may still give
        is dropped.
        """
        if self._holdings.close(holding):
            # What broke once may break at once again, and a message may come only so often.
            delay_s = backoff_s(holding.message.receives) if at_fault else 0
            ending = partial(self._return, holding, why, at_fault)
            self._publishers.put(partial(self._conclude, holding, ending, delay_s))

    def drop(self, holding: Holding) -> None:
        """Forget a job that is somebody else's by now, its message too."""
        if self._holdings.close(holding):
            self.admission.leave(holding)

    def _admit(self, holding: Holding) -> None:
        self._loaders.put(partial(self._try_load, holding))

    def _try_load(self, holding: Holding) -> None:
        """Load a job once there is memory; an unexpected error ends its attempt, not the thread."""
        if not self._stopping and not self._holdings.wait_for_memory(LOOK_S):
            self._admit(holding)
            return
        try:
            with self.admission.at_work([holding]):
                self._load(holding)
        except Exception as error:
            telemetry.log("error", "job broke", job=holding.message.job_id, why=repr(error))
            self.give_back(holding, f"{BROKEN}: {error!r}", at_fault=True)

    def _load(self, holding: Holding) -> None:
        if self._stopping:
            self.give_back(holding, STOPPING)
        if holding.closed:  # given back while it waited
            return
        job_id, alone = holding.message.job_id, self.admission.is_alone(holding)
        claimed = self._core.claim(job_id, self._plan.lease_ms, alone=alone)
        if isinstance(claimed, Suspect):
            telemetry.log("warning", "job waits to run alone", job=job_id, deaths=claimed.deaths)
            self.admission.suspect(holding, claimed.deaths)
            return
        if isinstance(claimed, Outcome):
            self._end(holding, lambda: claimed)
            return
        holding.job = claimed
        if holding.closed:  # given back while it was claimed
            self._core.hand_back(claimed, STOPPING)
            return
        try:
            task = self._core.decode(claimed)
        except OnnxliftError as error:
            self._metrics.note_job(claimed.model, succeeded=False)
            self._end(holding, partial(self._core.fail, claimed, error))
            return
        holding.task = task
        holding.answers = [None] * len(task.feeds)
        holding.missing = len(task.feeds)
        holding.arrays_bytes = sum(arrays_bytes(feed.arrays) for feed in task.feeds)
        if task.feeds:
            self._offer(holding, claimed, task.feeds)
        else:
            self._publish(holding)

    def _offer(self, holding: Holding, job: Job, feeds: tuple[Feed, ...]) -> None:
        now_s = monotonic()
        with self._changed:
            for place, feed in enumerate(feeds):
                max_rows = min(self._plan.max_rows, feed.rows_together)
                part, rows = (
                    Part(holding, place, feed, now_s),
                    (feed.rows, max_rows) if max_rows > 1 else (1, 1),
                )
                self._batcher.offer(group(job, place, feed, max_rows), part, *rows, now_s * 1000)
            stopping = self._stopping
            self._changed.notify()
        if stopping:
            self.stop()

    def _compute(self, device: int) -> None:
        if (batch := self._next()) is None:
            return
        with self.admission.at_work(part.holding for part in batch.items):
            # A job that was given back while it waited is not run.
            parts = [part for part in batch.items if not part.holding.closed]
            answers = self._prepare_and_run(device, parts)
        for part, answer in zip(parts, answers, strict=True):
            self._note(part, answer)

    def _prepare_and_run(self, device: int, parts: list[Part]) -> list[Answer | None]:
        if not parts:
            return []
        return self._prepare(parts) or self._run(device, parts)

    def _next(self) -> Batch[Part] | None:
        with self._changed:
            batch = self._batcher.take(monotonic() * 1000)
            if batch is None:
                due_ms = self._batcher.due_ms()
                wait_s = LOOK_S if due_ms is None else due_ms / 1000 - monotonic()
                self._changed.wait(min(LOOK_S, max(0.0, wait_s)))
                batch = self._batcher.take(monotonic() * 1000)
            return batch

    def _prepare(self, parts: list[Part]) -> list[Answer | None]:
        """Load the model, which can take minutes; returns the answers to all if that fails."""
        try:
            self._core.engine.prefetch(parts[0].feed.manifest)
        except Exception as error:
            return self._refuse(parts, error)
        return []

    def _run(self, device: int, parts: list[Part]) -> list[Answer | None]:
        """Run some feeds as one inference, watched by ``hung``."""
        watch, began_s = Stopwatch(self._core.engine.run), monotonic()
        for part in parts:
            part.holding.started = True
        with self._changed:
            self._running[device] = (began_s, parts)
        try:
            answers: list[Answer | None] = list(
                run_together([part.feed for part in parts], watch.run)
            )
        except Exception as error:
            # Out of memory while arrays are joined, or a fault that nobody expected.
            return self._refuse(parts, error)
        finally:
            with self._changed:
                del self._running[device]
        if lost := next((answer for answer in answers if isinstance(answer, DeviceMissing)), None):
            self._refuse([], lost)
        feed, rows = parts[0].feed, sum(part.feed.rows for part in parts)
        waited_s = [began_s - part.offered_s for part in parts]
        self._metrics.note_batch(feed.manifest.name, rows, waited_s, watch.lap())
        self._holdings.expect(len(parts) / max(monotonic() - began_s, 1e-3))
        return answers

    def _refuse(self, parts: list[Part], error: Exception) -> list[Answer | None]:
        """The answers to feeds that could not be run at all."""
        if isinstance(error, DeviceMissing):
            self.device_lost = str(error)
            self.stop()  # what waits would fail just so
        if isinstance(error, OnnxliftError):
            return [error] * len(parts)
        for part in parts:
            part.holding.broken = f"{BROKEN}: {error!r}"
        return [None] * len(parts)

    def _note(self, part: Part, answer: Answer | None) -> None:
        """Keep an answer; the last one that a job waits for sends it on."""
        holding = part.holding
        holding.answers[part.place] = answer
        with self._changed:
            holding.arrays_bytes += arrays_bytes(answer) if isinstance(answer, dict) else 0
            holding.missing -= 1
            complete = holding.missing == 0
        if complete:
            self._publish(holding)

    def _publish(self, holding: Holding) -> None:
        self._publishers.put(partial(self._end, holding, partial(self._finish, holding)))

    def _finish(self, holding: Holding) -> Outcome:
        job, task = holding.job, holding.task
        assert job is not None
        assert task is not None
        if holding.broken:
            return self._core.release(job, holding.broken)
        answers = [answer for answer in holding.answers if answer is not None]
        for answer in answers:
            if isinstance(answer, ModelUnavailable):
                self._ran(job.model, answer)
            if isinstance(answer, ModelUnavailable) or (
                isinstance(answer, DeviceMissing) and not holding.started
            ):
                return self._core.hand_back(job, str(answer))
        try:
            outcome = self._core.answer(job, task, answers)
        except Exception as error:  # such as too little memory to write the answer down
            return self._core.release(job, f"{BROKEN}: {error!r}")
        self._ran(job.model, None)
        failed = any(isinstance(answer, OnnxliftError) for answer in answers)
        self._metrics.note_job(job.model, succeeded=outcome is Outcome.DONE and not failed)
        return outcome

    def _return(self, holding: Holding, why: str, at_fault: bool) -> Outcome:
        if holding.job is None:
            return Outcome.AGAIN
        end = self._core.release if at_fault else self._core.hand_back
        return end(holding.job, why)

    def _end(self, holding: Holding, outcome: Callable[[], Outcome]) -> None:
        """Do what ends a holding, unless somebody else does."""
        if self._holdings.close(holding):
            self._conclude(holding, outcome, backoff_s(holding.message.receives))

    def _conclude(self, holding: Holding, outcome: Callable[[], Outcome], delay_s: int) -> None:
        """End a job's attempt, then its message; what cannot be told now comes again by itself."""
        queues, message = self._core.service.queues, holding.message
        try:
            became = outcome()
            holding.ended = True
            if became is Outcome.DONE:
                queues.delete(message)
            elif became is Outcome.AGAIN:
                queues.postpone(message.queue, message.receipt_handle, delay_s)
        except Exception as error:
            telemetry.log("error", "message not ended", job=message.job_id, why=repr(error))
        finally:
            self.admission.leave(holding)
