"""What the schedule does each minute: end what waited too long, take jobs from dead workers, resend
lost messages.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from botocore.exceptions import ClientError

from onnxlift_runtime import telemetry
from onnxlift_runtime.dataplane.routing import ESCALATED, MOVED
from onnxlift_runtime.errors import JobConflict, JobNotFound
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs.job import Job, JobStatus
from onnxlift_runtime.jobs.queueing import LOST_AFTER_MS, Sweep, plan_sweep
from onnxlift_runtime.jobservice.endpoints import tell
from onnxlift_runtime.jobservice.notifier import Notifier
from onnxlift_runtime.jobservice.service import JobService
from onnxlift_runtime.names import GPU, JOIN, LAMBDA

Action = Callable[[JobService, Notifier, Job], None]
# The note beside the jobs that names the models there are, or were while they still had jobs.
SERVED: Final = "models"


def sweep(
    service: JobService, notifier: Notifier, queues: Iterable[tuple[str, str]]
) -> dict[str, int]:
    """Sweep the queues of these models and tiers; returns how many jobs each thing was done to.

    A job whose worker on Lambda died goes to the GPU where its model has one; one that waits where
    its model no longer runs goes to where it does. One whose model has left the service fails.
    Sweeping twice at once does no harm: each change is conditional, and a second message is.
    """
    done: Counter[str] = Counter()
    queues = tuple(queues)
    gone = _gone(service, {model for model, _ in queues})
    for model, tier in (
        *queues,
        *((model, JOIN) for model in gone),
    ):  # where parts are joined stays
        bigger = GPU if tier == LAMBDA and (model, GPU) in queues else ""
        try:
            messages = service.queues.messages(model, tier)
        except ClientError as error:
            telemetry.log("error", "queue not swept", model=model, tier=tier, why=str(error))
            continue
        plan, _ = _look(service, model, tier, messages)
        for name, some, action in (
            ("expired", plan.expired, _expire),
            (
                "escalated" if bigger else "reclaimed",
                plan.lapsed,
                _escalate if bigger else _reclaim,
            ),
            ("resent", plan.lost, _resend),
        ):
            done[name] += sum(_try(action, service, notifier, job) for job in some)
    done.update(_take_along(service, notifier, queues))
    done["orphaned"] = sum(_end_orphans(service, notifier, model) for model in gone)
    return dict(done)


def _look(service: JobService, model: str, tier: str, messages: int = 0) -> tuple[Sweep, int]:
    """What is to be done with the jobs of a queue that has about so many messages, and how many
    have not ended.
    """
    now_ms = service.clock()
    overdue = service.table.overdue(f"{model}#{tier}", now_ms, LOST_AFTER_MS)
    return plan_sweep(overdue.jobs, overdue.unfinished, messages, now_ms), overdue.unfinished


def _gone(service: JobService, served: set[str]) -> list[str]:
    """The models that the service had at an earlier sweep, has no more, and may still have jobs
    of.
    """
    known: set[str] = service.table.read_note(SERVED).get("served", set())
    if new := served - known:
        _note(service, "ADD", new)
    return sorted(known - served)


def _end_orphans(service: JobService, notifier: Notifier, model: str) -> int:
    """End the jobs of a model that has left: their messages have gone with its queues."""
    done = unfinished = 0
    for tier in (LAMBDA, GPU):
        plan, count = _look(service, model, tier)
        done += sum(
            _try(_orphan, service, notifier, job)
            for job in (*plan.lapsed, *plan.lost, *plan.expired)
        )
        unfinished += count
    if not unfinished and not _look(service, model, JOIN)[1]:
        _note(service, "DELETE", {model})
    return done


def _note(service: JobService, verb: str, models: set[str]) -> None:
    values = {":served": {"SS": sorted(models)}}
    service.table.note(
        SERVED, UpdateExpression=f"{verb} served :served", ExpressionAttributeValues=values
    )


def _take_along(
    service: JobService, notifier: Notifier, queues: Sequence[tuple[str, str]]
) -> "Counter[str]":
    """Move jobs that wait where their model no longer runs, for its stack may have gone with their
    messages.
    """
    done: Counter[str] = Counter()
    for model, left, home in _left_behind(queues):
        plan, _ = _look(service, model, left)
        move = partial(_move, home, MOVED)
        done["expired"] += sum(_try(_expire, service, notifier, job) for job in plan.expired)
        done["moved"] += sum(
            _try(move, service, notifier, job) for job in (*plan.lapsed, *plan.lost)
        )
    return done


def _left_behind(queues: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Each model, a tier that it does not have, where jobs of an earlier deployment may wait, and
    one that it has.
    """
    homes = {model: tier for model, tier in reversed(queues) if tier in (LAMBDA, GPU)}
    for model, home in homes.items():
        yield from ((model, tier, home) for tier in (LAMBDA, GPU) if (model, tier) not in queues)


def _try(action: Action, service: JobService, notifier: Notifier, job: Job) -> bool:
    """Whether there was something to do: the index is a moment late, and others may have been
    faster.
    """
    try:
        action(service, notifier, job)
    except (JobConflict, JobNotFound):
        return False
    return True


def _expire(service: JobService, notifier: Notifier, job: Job) -> None:
    tell(
        service,
        notifier,
        service.table.change(job.id, lambda found: lifecycle.expire(found, service.clock())),
    )


def _reclaim(service: JobService, notifier: Notifier, job: Job) -> None:
    taken = service.table.change(job.id, lambda found: lifecycle.reclaim(found, service.clock()))
    if taken.status is JobStatus.QUEUED:
        service.queues.send(taken)
    else:
        tell(service, notifier, taken)


def _orphan(service: JobService, notifier: Notifier, job: Job) -> None:
    why = f"model {job.model!r} was taken out of the service before the job was done"
    tell(
        service,
        notifier,
        service.table.change(job.id, lambda found: lifecycle.abandon(found, why, service.clock())),
    )


def _move(tier: str, reason: str, service: JobService, _notifier: Notifier, job: Job) -> None:
    service.queues.send(
        service.table.change(
            job.id, lambda found: lifecycle.escalate(found, tier, reason, service.clock())
        )
    )


_escalate: Action = partial(_move, GPU, ESCALATED)


def _resend(service: JobService, _notifier: Notifier, job: Job) -> None:
    service.queues.send(job)
