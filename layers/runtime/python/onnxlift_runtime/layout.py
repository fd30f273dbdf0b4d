"""Names that the CDK app creates, the functions use and the local run imitates: each stands once."""

from typing import Final

BY_CALLER: Final = "by_caller"
BY_QUEUE: Final = "by_queue"
TABLE_KEY: Final = "id"
TABLE_TTL: Final = "expire_at_s"
# Index name to its partition key; all of them sort by creation.
TABLE_INDEXES: Final = {BY_CALLER: "caller", BY_QUEUE: "queue"}
TABLE_SORT: Final = "created_ms"

IN_PREFIX: Final = "in/"
OUT_PREFIX: Final = "out/"
PAYLOADS_PREFIX: Final = "payloads/"
RESULTS_PREFIX: Final = "results/"
UPLOADS_PREFIX: Final = "uploads/"


def queue_name(service: str, model: str, tier: str) -> str:
    """The queue of one model's jobs on one tier; its dead letters go to the same name with ``-dead``."""
    return f"{service}-{model}-{tier}-jobs"


def public_queue_name(service: str) -> str:
    """The queue that callers write messages to."""
    return f"{service}-jobs"
