"""One feed of a job on its way through the worker, and what it may run together with; pure."""

from collections.abc import Hashable
from dataclasses import dataclass

from gpu_fallback.messages.in_flight import Holding
from onnxlift_runtime.dataplane.batching import Feed
from onnxlift_runtime.jobs.job import MAX_ATTEMPTS, Job


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One feed of a job, at a place among its feeds; ``offered_s`` is when it began to wait."""

    holding: Holding
    place: int
    feed: Feed
    offered_s: float


def group(job: Job, place: int, feed: Feed, max_rows: int) -> Hashable:
    """The same for feeds that may run together, up to ``max_rows`` of them.

    A job whose attempt came to nothing before might take others along: from then on it runs by
    itself.
    """
    if max_rows < 2:
        return (job.id, job.attempt, place)
    suspect = job.attempts_left < MAX_ATTEMPTS - 1
    return (job.id, job.attempt, *feed.signature) if suspect else feed.signature
