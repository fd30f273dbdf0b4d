"""What every function that SQS feeds has in common: its connections, and how it answers."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from onnxlift_runtime import telemetry
from onnxlift_runtime.jobservice.notifier import Notifier, open_notifier
from onnxlift_runtime.jobservice.service import JobService
from onnxlift_runtime.jobservice.wiring import connect
from onnxlift_runtime.settings import Settings

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Process:
    """What a process works with; ``owner`` names it in leases."""

    settings: Settings
    service: JobService
    notifier: Notifier
    owner: str


def open_process(environ: Mapping[str, str]) -> Process:
    """Connect as the environment says; raises ``ConfigInvalid`` for settings that are unusable."""
    settings = Settings.from_env(environ)
    telemetry.configure(settings.log_level)
    service = connect(settings)
    owner = environ.get("AWS_LAMBDA_LOG_STREAM_NAME", f"process-{os.getpid()}")
    return Process(settings, service, open_notifier(settings, service), owner)


def take_each(event: Mapping[str, Any], take: Callable[[Record], bool]) -> dict[str, Any]:
    """Hand each record of an SQS event to ``take``; those for which it is false come again."""
    return repeat([record for record in event["Records"] if not take(record)])


def repeat(records: Iterable[Record]) -> dict[str, Any]:
    """The answer of a function that has these records come again, and no others.

    Source: ``ReportBatchItemFailures`` in the AWS Lambda Developer Guide.
    """
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in records]}


def queue_of(record: Record) -> str:
    """The name of the queue that a record came by."""
    name: str = record["eventSourceARN"].rsplit(":", 1)[-1]
    return name
