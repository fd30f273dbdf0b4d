"""Which queues there are, what they feed, and how patiently: the CDK app builds it, the local run imitates it; pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from onnxlift.config import Config
from onnxlift_runtime.layout import (
    IN_PREFIX,
    LAMBDA,
    WEBHOOK_TRIES,
    ingest_queue_name,
    public_queue_name,
    queue_name,
    webhook_queue_name,
)

MAX_RECEIVES: Final = 5
RETENTION_S: Final = 4 * 24 * 3600
DEAD_RETENTION_S: Final = 14 * 24 * 3600
MAX_MESSAGE_BYTES: Final = 1024 * 1024
VISIBILITY_FACTOR: Final = 6  # of the function's timeout: AWS's own advice for queues that feed a function
CONTROL_TIMEOUT_S: Final = 29
INGEST_TIMEOUT_S: Final = 300
NOTIFY_TIMEOUT_S: Final = 60
SWEEP_EVERY_S: Final = 60
# An upload stands as an input of a request or a job, which both come soon after it.
UPLOADS_KEPT_DAYS: Final = 2


@dataclass(frozen=True, slots=True)
class Source:
    """A queue and the function that it feeds; ``model`` is empty for functions of the whole service.

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
        return VISIBILITY_FACTOR * self.timeout_s


def sources(config: Config, models: Iterable[str]) -> tuple[Source, ...]:
    """Every queue of the service: one for the jobs of each model, and those of the service as a whole."""
    return (*(job_source(config, model) for model in models), *service_sources(config))


def job_source(config: Config, model: str) -> Source:
    """The queue of a model's jobs on Lambda."""
    jobs = config.jobs
    name = queue_name(config.service, model, LAMBDA)
    return Source(name, "batch", jobs.timeout_s, jobs.batch_size, jobs.concurrency, model)


def service_sources(config: Config) -> tuple[Source, ...]:
    """The public queue, that of created objects and of joins, and that of webhooks."""
    service = config.service
    return (
        Source(public_queue_name(service), "ingest", INGEST_TIMEOUT_S, 10, 10),
        Source(ingest_queue_name(service), "ingest", INGEST_TIMEOUT_S, 10, 10),
        # One at a time, because a receiver that does not answer takes up all the time that there is.
        Source(webhook_queue_name(service), "notify", NOTIFY_TIMEOUT_S, 1, 10, max_receives=WEBHOOK_TRIES),
    )


def created_objects(bucket: Any) -> dict[str, Any]:
    """The EventBridge pattern of objects that callers drop below ``in/``."""
    return {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [bucket]}, "object": {"key": [{"prefix": IN_PREFIX}]}},
    }
