"""What every worker does with the messages it was given, on Lambda and on the GPU alike: claim, run, publish, tell.

A message is done with when its job has ended, whoever ended it. It must come again when the job is held by another
worker, whose death it then outlives, or when the attempt failed in a way that may pass.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from onnxlift_runtime import jobs, telemetry
from onnxlift_runtime.aws.objects import result_key
from onnxlift_runtime.aws.service import JobService
from onnxlift_runtime.batching import run_together
from onnxlift_runtime.engine import Engine
from onnxlift_runtime.errors import JobConflict, JobNotFound, LeaseLost, OnnxliftError, StoreUnavailable
from onnxlift_runtime.http import Response
from onnxlift_runtime.jobs import Job, Payload
from onnxlift_runtime.tasks import Answer, Task, decode_task
from onnxlift_runtime.uploads import fill_in


class Herald(Protocol):
    """Whoever tells the world that a job has ended."""

    def tell(self, job: Job) -> None:
        """Tell it; called at least once for each job, and again after ``StoreUnavailable``."""
        ...


@dataclass(frozen=True, slots=True)
class Worker:
    """One process that works on jobs; ``owner`` names it in leases."""

    service: JobService
    engine: Engine
    herald: Herald
    owner: str
    max_payload_bytes: int

    def work(self, job_ids: Iterable[str], lease_ms: int) -> frozenset[str]:
        """Work on these jobs as few inferences; returns those whose messages must come again."""
        again: set[str] = set()
        held: list[Job] = []
        for job_id in dict.fromkeys(job_ids):
            try:
                held.append(self._claim(job_id, lease_ms))
            except JobNotFound:
                telemetry.log("warning", "message without a job", job=job_id)
            except JobConflict as error:
                if not self._settle(job_id):
                    telemetry.log("info", "job not claimed", job=job_id, why=str(error))
                    again.add(job_id)
            except StoreUnavailable as error:
                telemetry.log("error", "job not claimed", job=job_id, why=str(error))
                again.add(job_id)
        return frozenset(again | self._work_held(held))

    def _claim(self, job_id: str, lease_ms: int) -> Job:
        clock = self.service.clock
        return self.service.table.change(job_id, lambda job: jobs.claim(job, self.owner, clock(), lease_ms))

    def _settle(self, job_id: str) -> bool:
        """Bring a job that could not be claimed to its end where it has one; whether its message is done with.

        A job that had already ended is told again: the worker that ended it may have died before it could.
        """
        try:
            job = self.service.get(job_id, self.service.table.get(job_id).caller)
            if not job.final and job.attempts_left <= 0:
                job = self.service.table.change(
                    job_id, lambda found: jobs.abandon(found, "every worker that tried died", self.service.clock())
                )
        except (JobConflict, StoreUnavailable):
            return False
        return job.final and not self._tell(job)

    def _work_held(self, held: Sequence[Job]) -> set[str]:
        """Decode, run and finish jobs that this worker holds; returns those to be tried again."""
        tasks: list[tuple[Job, Task]] = []
        again: set[str] = set()
        for job in held:
            try:
                tasks.append((job, self._decode(job)))
            except OnnxliftError as error:
                again |= self._fail(job, error)
        answers = iter(run_together([feed for _, task in tasks for feed in task.feeds], self.engine.run))
        for job, task in tasks:
            again |= self._answer(job, task, list(islice(answers, len(task.feeds))))
        return again

    def _decode(self, job: Job) -> Task:
        store, limits = self.service.store, self.engine.limits
        body = store.fetch(job.payload, self.max_payload_bytes)
        manifest = self.engine.catalog.find(job.model, job.version)
        headers, body = fill_in(
            job.payload.headers,
            body,
            lambda reference, max_bytes: store.fetch_upload(reference, job.caller, max_bytes),
            limits,
        )
        return decode_task(limits, manifest, headers, body)

    def _answer(self, job: Job, task: Task, answers: list[Answer]) -> set[str]:
        """Finish a job with the answers to its feeds; returns it where it is to be tried again."""
        try:
            response = task.encode(answers)
        except OnnxliftError as error:
            return self._fail(job, error)
        return self._succeed(job, response)

    def _succeed(self, job: Job, answer: Response) -> set[str]:
        """Write the result where only this attempt writes, then publish it through the table."""
        try:
            result = self.service.store.keep(Payload.of(answer.body, answer.headers), result_key(job))
        except StoreUnavailable as error:
            return self._fail(job, error)
        return self._finish(job, lambda current: jobs.succeed(current, job, result, self.service.clock()))

    def _fail(self, job: Job, error: OnnxliftError) -> set[str]:
        end = jobs.release if error.retryable else jobs.fail
        return self._finish(job, lambda current: end(current, job, str(error), self.service.clock()))

    def _finish(self, job: Job, transition: jobs.Transition) -> set[str]:
        """Store the end of an attempt and tell it; returns the job where its message must come again."""
        try:
            ended = self.service.table.change(job.id, transition)
        except LeaseLost as error:
            telemetry.log("warning", "result dropped", job=job.id, why=str(error))
            return set()
        except (StoreUnavailable, JobConflict) as error:  # held until the lease runs out, then tried again
            telemetry.log("error", "end of an attempt not stored", job=job.id, why=str(error))
            return {job.id}
        return self._tell(ended) if ended.final else {job.id}

    def _tell(self, job: Job) -> set[str]:
        """Tell a job's end; returns the job where that did not work and its message must come again."""
        try:
            self.herald.tell(job)
        except StoreUnavailable as error:
            telemetry.log("error", "end of a job not told", job=job.id, why=str(error))
            return {job.id}
        return set()
