"""What every worker does with the messages it was given, on Lambda and on the GPU alike: claim,
run, publish, tell.

A message is done with when its job has ended, whoever ended it. It must come again when the job is
held by another worker, whose death it then outlives, or when the attempt failed in a way that may
pass.

Who dies loses an attempt of every job that it holds, whichever of them was the cause. So a job that
a worker died with is a suspect from then on, and held with no other job beside it; a last attempt
is made so too, lest another job be why it fails.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Final, Protocol

from onnxlift_runtime import telemetry
from onnxlift_runtime.aws.objects import result_key
from onnxlift_runtime.dataplane.batching import Runner, run_together
from onnxlift_runtime.dataplane.tasks import Answer, Task, decode_task
from onnxlift_runtime.errors import (
    JobConflict,
    JobNotFound,
    LeaseLost,
    OnnxliftError,
    StoreUnavailable,
)
from onnxlift_runtime.http.message import Response
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs.job import Job, JobStatus, Payload
from onnxlift_runtime.jobservice.service import JobService
from onnxlift_runtime.protocols.uploads import fill_in

BROKEN: Final = "the worker failed"  # at something that nobody thought of


class Outcome(Enum):
    """A message is done, must come again, or its job belongs to another worker by now."""

    DONE = "done"
    AGAIN = "again"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Suspect:
    """A job that may only be claimed alone, because ``deaths`` workers have died with it."""

    deaths: int


class EndListener(Protocol):
    """Reports to others that a job has ended."""

    def tell(self, job: Job) -> None:
        """Tell it; called at least once for each job, and again after ``StoreUnavailable``."""
        ...


@dataclass(frozen=True, slots=True)
class Worker:
    """One process that works on jobs; ``owner`` names it in leases.

    It leaves alone what has moved to another tier than ``tier``; "" takes any.

    ``work`` is all of it for some messages; a worker that does several things at once calls the
    stages by itself: ``claim``, ``decode``, then ``answer`` with what its feeds gave, or ``fail``,
    or ``hand_back``. Each stage that ends an attempt returns what becomes of the message; none of
    them raises where the store is away.
    """

    service: JobService
    engine: Runner
    notifier: EndListener
    owner: str
    max_payload_bytes: int
    tier: str = ""

    def work(
        self,
        job_ids: Iterable[str],
        lease_ms: int,
        wait: Callable[[Sequence[str]], None] = lambda _job_ids: None,
    ) -> frozenset[str]:
        """Work on these jobs as few inferences, then on suspects one by one; returns whose messages
        must come again.

        ``wait`` is told those that others go before: should these end the process, their messages
        should come again soon, for they have not begun.
        """
        until_ms = self.service.clock() + lease_ms
        claimed = {
            job_id: self.claim(job_id, lease_ms, alone=False) for job_id in dict.fromkeys(job_ids)
        }
        found = {
            job_id: claim.deaths for job_id, claim in claimed.items() if isinstance(claim, Suspect)
        }
        suspects = sorted(found, key=found.__getitem__)  # the likeliest cause comes last
        in_company = any(isinstance(claim, Job) for claim in claimed.values())
        wait(suspects if in_company else suspects[1:])
        outcomes = self._work_claimed(claimed)
        for job_id in suspects:
            outcomes |= self._work_claimed(
                {job_id: self.claim(job_id, until_ms - self.service.clock(), alone=True)}
            )
        return frozenset(job_id for job_id, outcome in outcomes.items() if outcome is Outcome.AGAIN)

    def claim(self, job_id: str, lease_ms: int, *, alone: bool) -> Job | Outcome | Suspect:
        """The job, held by this worker from now on; or what becomes of its message where it cannot
        be.

        ``alone``: this worker holds no other job, and claims none until this one has ended.
        """
        clock, owner = self.service.clock, f"{self.owner}/{uuid.uuid4().hex[:8]}"

        def claim(job: Job) -> Job:
            claimed = lifecycle.claim(job, owner, clock(), lease_ms, self.tier)
            if not alone and (claimed.deaths or not claimed.attempts_left):
                raise _Suspected(claimed.deaths)
            return claimed

        try:
            return self.service.table.change(job_id, claim)
        except _Suspected as suspected:
            return Suspect(suspected.deaths)
        except JobNotFound:
            telemetry.log("warning", "message without a job", job=job_id)
            return Outcome.DONE
        except JobConflict as error:
            if self._settle(job_id):
                return Outcome.DONE
            telemetry.log("info", "job not claimed", job=job_id, why=str(error))
        except StoreUnavailable as error:
            telemetry.log("error", "job not claimed", job=job_id, why=str(error))
        return Outcome.AGAIN

    def renew(self, job: Job, lease_ms: int) -> Job:
        """The job that this worker holds, its lease prolonged; raises ``LeaseLost`` and
        ``StoreUnavailable``.
        """
        clock = self.service.clock
        return self.service.table.change(
            job.id, lambda found: lifecycle.renew(found, job, clock(), lease_ms), seen=job
        )

    def decode(self, job: Job) -> Task:
        """Fetch and read what a job asks for; raises an ``OnnxliftError``."""
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

    def answer(self, job: Job, task: Task, answers: Sequence[Answer]) -> Outcome:
        """Finish a job with the answers to its feeds.

        The result is written where only this attempt writes, then published through the table.
        """
        try:
            response = task.encode(answers)
            result = self._keep(job, response)
        except OnnxliftError as error:
            return self.fail(job, error)
        return self._finish(
            job, lambda current: lifecycle.succeed(current, job, result, self.service.clock())
        )

    def fail(self, job: Job, error: OnnxliftError) -> Outcome:
        """End an attempt that failed: for good, or to be tried again where the failure may pass."""
        end = lifecycle.release if error.retryable else lifecycle.fail
        return self._finish(
            job, lambda current: end(current, job, str(error), self.service.clock())
        )

    def release(self, job: Job, why: str) -> Outcome:
        """Give up an attempt that was at fault itself, and may go well another time."""
        return self._finish(
            job, lambda current: lifecycle.release(current, job, why, self.service.clock())
        )

    def hand_back(self, job: Job, why: str) -> Outcome:
        """Give a job back with its attempt, because this worker cannot go on with it."""
        return self._finish(
            job, lambda current: lifecycle.hand_back(current, job, why, self.service.clock())
        )

    def _settle(self, job_id: str) -> bool:
        """Bring a job that could not be claimed to its end where it has one; whether its message is
        done with.

        A job that had already ended is told again: the worker that ended it may have died before it
        could.
        """
        try:
            job = self.service.get(job_id, None)
            if not job.final and self.tier not in ("", job.tier):
                return True  # it has a message of its own on the tier that it moved to
            if not job.final and job.attempts_left <= 0:
                job = self.service.table.change(
                    job_id, lambda found: lifecycle.reclaim(found, self.service.clock()), seen=job
                )
        except (JobConflict, StoreUnavailable):
            return False
        return job.final and self._tell(job) is Outcome.DONE

    def _work_claimed(self, claimed: Mapping[str, Job | Outcome | Suspect]) -> dict[str, Outcome]:
        """Decode, run and finish the jobs that this worker holds of some that it tried to claim."""
        outcomes = {
            job_id: found for job_id, found in claimed.items() if isinstance(found, Outcome)
        }
        held = [found for found in claimed.values() if isinstance(found, Job)]
        for model, count in Counter(job.model for job in held).items():
            self.service.meter.note(model, jobs_together=count)
        tasks: list[tuple[Job, Task]] = []
        for job in held:
            try:
                tasks.append((job, self.decode(job)))
            except Exception as error:
                outcomes[job.id] = self._give_up(job, error)
        try:
            answers = iter(
                run_together([feed for _, task in tasks for feed in task.feeds], self.engine.run)
            )
        except Exception as error:  # such as too little memory to run them together
            return outcomes | {job.id: self._give_up(job, error) for job, _ in tasks}
        for job, task in tasks:
            try:
                outcomes[job.id] = self.answer(job, task, list(islice(answers, len(task.feeds))))
            except Exception as error:
                outcomes[job.id] = self._give_up(job, error)
        return outcomes

    def _give_up(self, job: Job, error: Exception) -> Outcome:
        """End an attempt that failed; what nobody thought of costs this job its attempt, and no
        other.
        """
        if isinstance(error, OnnxliftError):
            return self.fail(job, error)
        telemetry.log("error", "job broke", job=job.id, why=repr(error))
        return self.release(job, f"{BROKEN}: {error!r}")

    def _keep(self, job: Job, answer: Response) -> Payload:
        return self.service.store.keep(Payload.of(answer.body, answer.headers), result_key(job))

    def _finish(self, job: Job, transition: lifecycle.Transition) -> Outcome:
        """Store the end of an attempt and tell it."""
        try:
            ended = self.service.table.change(job.id, transition, seen=job)
        except LeaseLost as error:
            return self._check_lost(job, error)
        except (
            StoreUnavailable,
            JobConflict,
        ) as error:  # held until the lease runs out, then tried again
            telemetry.log("error", "end of an attempt not stored", job=job.id, why=str(error))
            return Outcome.AGAIN
        return self._tell(ended) if ended.final else Outcome.AGAIN

    def _check_lost(self, held: Job, error: LeaseLost) -> Outcome:
        """Whether a lease is lost because this very attempt has ended: a write may succeed, and its
        answer get lost.
        """
        try:
            found = self.service.table.get(held.id)
        except (JobNotFound, StoreUnavailable):
            found = held
        if (
            found.status in {JobStatus.SUCCEEDED, JobStatus.FAILED}
            and found.attempt == held.attempt
        ):
            return self._tell(found)
        telemetry.log("warning", "result dropped", job=held.id, why=str(error))
        return Outcome.LOST

    def _tell(self, job: Job) -> Outcome:
        """Tell a job's end; where that did not work its message must come again."""
        try:
            self.notifier.tell(job)
        except StoreUnavailable as error:
            telemetry.log("error", "end of a job not told", job=job.id, why=str(error))
            return Outcome.AGAIN
        return Outcome.DONE


class _Suspected(Exception):
    """A claim in company found a suspect."""

    def __init__(self, deaths: int) -> None:
        self.deaths = deaths
