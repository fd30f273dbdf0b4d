"""Names that the CDK app creates, the functions use and the local run imitates: each stands
once.
"""

import hashlib
import re
from typing import Final

BY_CALLER: Final = "by_caller"
BY_QUEUE: Final = "by_queue"
TABLE_KEY: Final = "id"
TABLE_TTL: Final = "expire_at_s"
# Index name to its partition key; all of them sort by creation.
TABLE_INDEXES: Final = {BY_CALLER: "caller", BY_QUEUE: "queue"}
TABLE_SORT: Final = "created_ms"
# What each index holds beside keys: not payloads and results, which every write would copy and
# every list would read.
TABLE_INCLUDES: Final = {
    BY_CALLER: (
        "model",
        "version",
        "status",
        "tier",
        "reason",
        "attempt",
        "expires_ms",
        "started_ms",
        "finished_ms",
        "error",
        "delivery",
        "webhook_tries",
        "webhook_error",
        "webhook_delivered_ms",
    ),
    BY_QUEUE: ("caller", "model", "version", "status", "tier", "expires_ms", "lease_until_ms"),
}

IN_PREFIX: Final = "in/"
OUT_PREFIX: Final = "out/"
PAYLOADS_PREFIX: Final = "payloads/"
RESULTS_PREFIX: Final = "results/"
UPLOADS_PREFIX: Final = "uploads/"

# The tiers that run a model's jobs, and
LAMBDA: Final = "lambda"
GPU: Final = "gpu"
# that of a job which joins the answers of its parts: bytes alone, so the ingest function does it.
JOIN: Final = "join"


_RESOURCE_LENGTH: Final = 40
_RESOURCE: Final = re.compile(rf"[a-z][a-z0-9-]{{0,{_RESOURCE_LENGTH - 1}}}")
_DIGEST_LENGTH: Final = 8


def table_name(service: str) -> str:
    """The table of all jobs."""
    return f"{service}-jobs"


def bucket_name(service: str, account: str, region: str) -> str:
    """The bucket of what callers drop and fetch, and of bodies too large for the table; unique in
    all of AWS.
    """
    return f"{service}-{account}-{region}"


def bus_name(service: str) -> str:
    """The EventBridge bus on which finished jobs are told."""
    return service


def resource_name(model: str) -> str:
    """A model's name as AWS resources may have it: lower-case letters, digits and hyphens, at most
    40.

    Names that are so already stay; of others a digest keeps apart what would become the same.
    """
    if _RESOURCE.fullmatch(model):
        return model
    digest = hashlib.sha256(model.encode()).hexdigest()[:_DIGEST_LENGTH]
    plain = re.sub("[^a-z0-9]+", "-", model.lower()).strip("-")
    plain = plain if plain[:1].isalpha() else f"m-{plain}"
    return f"{plain[: _RESOURCE_LENGTH - _DIGEST_LENGTH - 1].rstrip('-')}-{digest}"


def dead_letter_name(queue: str) -> str:
    """The queue that takes what was received from ``queue`` too often."""
    return f"{queue}-dead"


def queue_name(service: str, model: str, tier: str) -> str:
    """The queue of one model's jobs on one tier; its dead letters go to the same name with
    ``-dead``.
    """
    if tier == JOIN:
        return ingest_queue_name(service)
    return f"{service}-{resource_name(model)}-{tier}-jobs"


def tier_of_queue(queue: str) -> str:
    """The tier whose jobs, or dead letters, a queue of ``queue_name`` holds."""
    return GPU if queue.removesuffix("-dead").endswith(f"-{GPU}-jobs") else LAMBDA


def gpu_cluster_name(service: str) -> str:
    """The ECS cluster of a service's GPU workers."""
    return f"{service}-gpu"


def gpu_service_name(service: str, model: str) -> str:
    """The ECS service that keeps one model's GPU workers."""
    return f"{service}-{resource_name(model)}-gpu"


def ingest_queue_name(service: str) -> str:
    """The queue of what the ingest function does by itself: objects created in the bucket, and jobs
    to be joined.
    """
    return f"{service}-ingest"


def public_queue_name(service: str) -> str:
    """The queue that callers write messages to."""
    return f"{service}-jobs"


def webhook_queue_name(service: str) -> str:
    """The queue of webhooks that are yet to be delivered; its dead letters are those that were
    given up.
    """
    return f"{service}-webhooks"


def webhook_secret_name(service: str) -> str:
    """The secret that webhooks are signed with."""
    return f"{service}-webhooks"


def topic_name(service: str) -> str:
    """The SNS topic that is told when a job ends, where a service wants one."""
    return f"{service}-jobs"


# What the schedule hands the ``control`` function each minute, instead of a request.
SWEEP_EVENT: Final = {"task": "sweep"}
# Seconds before each further try of a webhook; the first of the schedule that Standard Webhooks
# recommends.
WEBHOOK_DELAYS_S: Final = (5, 300, 1_800, 7_200, 18_000)
WEBHOOK_TRIES: Final = 1 + len(WEBHOOK_DELAYS_S)


def uploads_prefix(caller: str) -> str:
    """Where a caller's uploads lie; a reference below any other prefix does not exist for it."""
    digest = hashlib.sha256(caller.encode(errors="backslashreplace")).hexdigest()
    return f"{UPLOADS_PREFIX}{digest[:32]}/"
