"""What is measured about jobs: each stored change of a job counts once, however often somebody
tried to make it.

A change is measured where the table has taken it (``JobTable``), in whichever function or worker
that was. So nothing is counted twice when a message comes again, and hardly any of it stands in the
functions. docs/metrics.md tells what each metric means.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from onnxlift_runtime import telemetry
from onnxlift_runtime.jobs.job import Job, JobStatus
from onnxlift_runtime.names import JOIN

COUNT: Final = "Count"
MILLISECONDS: Final = "Milliseconds"
# By service and model, but for the last three.
UNITS: Final = {
    "jobs_submitted": COUNT,
    "objects_ingested": COUNT,
    "jobs_succeeded": COUNT,
    "jobs_failed": COUNT,
    "jobs_expired": COUNT,
    "jobs_canceled": COUNT,
    "jobs_retried": COUNT,
    "jobs_escalated": COUNT,
    "queue_ms": MILLISECONDS,
    "run_ms": MILLISECONDS,
    "attempts": COUNT,
    "attempts_failed": COUNT,
    "jobs_together": COUNT,
    "dead_letters_escalated": COUNT,
    "dead_letters_failed": COUNT,
    "webhooks_delivered": COUNT,
    "webhooks_failed": COUNT,
    "jobs_refused": COUNT,
    "objects_refused": COUNT,
    "cold_starts": COUNT,
}
# What was refused names a model that need not exist: callers could make metrics without end.
WITHOUT_MODEL: Final = frozenset({"jobs_refused", "objects_refused"})
BY_FUNCTION: Final = frozenset({"cold_starts"})


class Tally:
    """Values by dimensions and metric, until they are written; safe to use from several threads."""

    def __init__(self, service: str, units: Mapping[str, str]) -> None:
        """``units`` are CloudWatch's, by metric; every line has the dimension ``service``."""
        self._service = service
        self._units = units
        self._lock = threading.Lock()
        self._values = _nothing()

    def add(self, dimensions: Mapping[str, str], values: Mapping[str, Sequence[float]]) -> None:
        """Keep some values of each of these metrics."""
        with self._lock:
            for name, some in values.items():
                self._values[tuple(dimensions.items())][name] += some

    def write(self) -> None:
        """Write what was kept since the last time."""
        with self._lock:
            values, self._values = self._values, _nothing()
        for dimensions, measured in values.items():
            try:
                telemetry.measure(
                    {"service": self._service, **dict(dimensions)}, self._units, measured
                )
            # what was measured is done already, and must not count as failed for a figure
            except Exception as error:
                telemetry.log("error", "not measured", why=str(error))


class Meter:
    """What was measured in this process since it was written last; safe to use from several
    threads.

    Written at once, one line for each change, but for what happens while an invocation is
    ``gathered``. A meter without a service measures nothing.
    """

    def __init__(self, service: str = "") -> None:
        self._service = service
        self._tally = Tally(service, UNITS)
        self._gathering = False
        self._cold = True

    def watch(self, before: Job | None, after: Job) -> None:
        """Measure a change that was stored; ``before`` is None for a new job."""
        self.note(after.model, **measure_change(before, after))

    def note(self, model: str, **values: int) -> None:
        """Measure one value of each of these metrics."""
        for name, value in values.items():
            self._add({} if name in WITHOUT_MODEL else {"model": model}, name, value)
        if not self._gathering:
            self._tally.write()

    @contextmanager
    def gathered(self, function: str) -> Iterator[None]:
        """Write what happens in one invocation of ``function`` at its end, and once whether it was
        the first.
        """
        self._gathering = True
        try:
            if self._cold:
                self._add({"function": function}, "cold_starts", 1)
            self._cold = False
            yield
        finally:
            self._gathering = False
            self._tally.write()

    def _add(self, dimensions: Mapping[str, str], name: str, value: int) -> None:
        if self._service:
            self._tally.add(dimensions, {name: [value]})


def measure_change(before: Job | None, after: Job) -> dict[str, int]:
    """The metrics of one change of a job, by name.

    A part of a large file is no job that somebody sent: of parts, only waiting, running and
    attempts are measured; of the whole, which waits for them and is joined, everything but these.
    """
    measured = _measure_new(after) if before is None else _measure_step(before, after)
    ours = {"queue_ms", "run_ms", "attempts", "attempts_failed"}
    if after.delivery.part:
        return {name: value for name, value in measured.items() if name in ours}
    if after.tier == JOIN:
        return {name: value for name, value in measured.items() if name not in ours}
    return measured


def _measure_new(job: Job) -> dict[str, int]:
    dropped = bool(job.delivery.output_key)  # an object in the bucket
    if job.final:
        return {"jobs_refused": 1} | ({"objects_refused": 1} if dropped else {})
    return {"jobs_submitted": 1} | ({"objects_ingested": 1} if dropped else {})


def _measure_step(before: Job, after: Job) -> dict[str, int]:
    if before.final:
        return _measure_afterwards(before, after)
    if after.final:
        return _measure_end(before, after)
    measured = {"jobs_escalated": 1} if after.tier != before.tier else {}
    if before.status is JobStatus.RUNNING and _gone(before, after):
        measured["attempts_failed"] = 1
    if after.attempt == 1 and before.attempt == 0:  # claimed for the first time
        measured["queue_ms"] = after.started_ms - after.created_ms
    return measured


def _gone(before: Job, after: Job) -> bool:
    """Whether a running attempt came to nothing; it did not where its lease was prolonged, or it
    was handed back.
    """
    claimed_by_another = after.attempt > before.attempt
    released = after.status is JobStatus.QUEUED and after.attempts_left == before.attempts_left
    return claimed_by_another or released or after.tier != before.tier


def _measure_end(before: Job, after: Job) -> dict[str, int]:
    measured = {f"jobs_{after.status.lower()}": 1}
    if after.attempt:
        measured["attempts"] = after.attempt
    if after.status is JobStatus.SUCCEEDED:
        measured["run_ms"] = after.finished_ms - after.started_ms
    elif after.status is JobStatus.FAILED and before.status is JobStatus.RUNNING:
        measured["attempts_failed"] = 1
    return measured


def _measure_afterwards(before: Job, after: Job) -> dict[str, int]:
    """What befalls a job that has ended: a try of its webhook, or another life."""
    if not after.final:
        return {"jobs_retried": 1}
    if after.webhook_tries == before.webhook_tries:
        return {}
    return {"webhooks_failed" if after.webhook_error else "webhooks_delivered": 1}


def _nothing() -> dict[tuple[tuple[str, str], ...], dict[str, list[float]]]:
    return defaultdict(lambda: defaultdict(list))
