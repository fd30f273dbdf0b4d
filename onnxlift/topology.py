"""Which queues there are, what they feed, and how patiently: the CDK app builds it, the local run
imitates it; pure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from onnxlift.config import Config
from onnxlift_runtime.jobs.triggers import TRIGGERS
from onnxlift_runtime.names import (
    GPU,
    IN_PREFIX,
    LAMBDA,
    WEBHOOK_TRIES,
    dead_letter_name,
    queue_name,
    webhook_queue_name,
)

MAX_RECEIVES: Final = 5
RETENTION_S: Final = 4 * 24 * 3600
DEAD_RETENTION_S: Final = 14 * 24 * 3600
MAX_MESSAGE_BYTES: Final = 1024 * 1024
# Of the function's timeout: AWS's own advice for queues that feed a function.
VISIBILITY_FACTOR: Final = 6
CONTROL_TIMEOUT_S: Final = 29
INGEST_TIMEOUT_S: Final = 300
NOTIFY_TIMEOUT_S: Final = 60
ESCALATE_TIMEOUT_S: Final = 60
MAX_FUNCTION_TIMEOUT_S: Final = 900
# Whoever works on the GPU is no function, and keeps what it works on hidden; this is for what a
# dead one held.
WORKER: Final = "worker"
WORKER_VISIBILITY_S: Final = 300
# A worker that has to go gives its messages back, which SQS counts as having received them.
WORKER_MAX_RECEIVES: Final = 20
# Dead letters feed a function too, so they must stay hidden for as long as it may take.
DEAD_VISIBILITY_S: Final = VISIBILITY_FACTOR * ESCALATE_TIMEOUT_S
SWEEP_EVERY_S: Final = 60
# An upload stands as an input of a request or a job, which both come soon after it.
UPLOADS_KEPT_DAYS: Final = 2


@dataclass(frozen=True, slots=True)
class Source:
    """A queue and the function that it feeds; ``model`` is empty for functions of the whole
    service.

    At most ``concurrency`` calls run at once, each with up to ``batch_size`` messages.
    """

    queue: str
    function: str
    timeout_s: int
    batch_size: int
    concurrency: int
    model: str = ""
    max_receives: int = MAX_RECEIVES

    @property
    def visibility_s(self) -> int:
        """How long a message that was received stays hidden from others."""
        return (
            WORKER_VISIBILITY_S if self.function == WORKER else VISIBILITY_FACTOR * self.timeout_s
        )


Tiers = Mapping[str, Sequence[str]]
LAMBDA_ALONE: Final[Tiers] = MappingProxyType({})


def sources(
    config: Config, models: Iterable[str], tiers: Tiers = LAMBDA_ALONE
) -> tuple[Source, ...]:
    """Every queue of the service: one for the jobs of each model on each of its tiers, and those of
    the service.

    A model that ``tiers`` does not name has Lambda alone. The queues of GPU workers feed
    ``WORKER``, which is no function.
    """
    return (*_job_sources(config, models, tiers), *service_sources(config))


def escalations(
    config: Config, models: Iterable[str], tiers: Tiers = LAMBDA_ALONE
) -> tuple[Source, ...]:
    """The dead letters of every model's jobs, which feed ``escalate``; each exists beside its queue
    already.
    """
    return tuple(
        Source(dead_letter_name(source.queue), "escalate", ESCALATE_TIMEOUT_S, 10, 2, source.model)
        for source in _job_sources(config, models, tiers)
    )


def _job_sources(config: Config, models: Iterable[str], tiers: Tiers) -> Iterator[Source]:
    makers = {LAMBDA: job_source, GPU: gpu_source}
    return (makers[tier](config, model) for model in models for tier in tiers.get(model, (LAMBDA,)))


def job_source(config: Config, model: str) -> Source:
    """The queue of a model's jobs on Lambda."""
    jobs = config.jobs
    name = queue_name(config.service, model, LAMBDA)
    return Source(name, "batch", jobs.timeout_s, jobs.batch_size, jobs.concurrency, model)


def gpu_source(config: Config, model: str) -> Source:
    """The queue of a model's jobs on a GPU: for workers on machines, or for a function that has
    one.
    """
    gpu, name = config.gpu, queue_name(config.service, model, GPU)
    if gpu.backend == "ecs":
        return Source(name, WORKER, gpu.timeout_s, 10, gpu.max_tasks, model, WORKER_MAX_RECEIVES)
    timeout_s = min(gpu.timeout_s, MAX_FUNCTION_TIMEOUT_S)
    # Two at once are the fewest that SQS can be told.
    return Source(name, "batch", timeout_s, config.jobs.batch_size, max(2, gpu.max_tasks), model)


def service_sources(config: Config) -> tuple[Source, ...]:
    """The queue of each trigger, in their order, and that of webhooks."""
    service = config.service
    return (
        *(
            Source(trigger.queue(service), "ingest", INGEST_TIMEOUT_S, 10, 10)
            for trigger in TRIGGERS
        ),
        # One at a time, because a receiver that does not answer takes up all the time that there
        # is.
        Source(
            webhook_queue_name(service),
            "notify",
            NOTIFY_TIMEOUT_S,
            1,
            10,
            max_receives=WEBHOOK_TRIES,
        ),
    )


def created_objects(bucket: Any) -> dict[str, Any]:
    """The EventBridge pattern of objects that callers drop below ``in/``."""
    return {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [bucket]}, "object": {"key": [{"prefix": IN_PREFIX}]}},
    }
