"""The function that makes jobs of what comes by bucket and by queue, and joins those that were
split.
"""

import functools
import os
import traceback
from collections.abc import Mapping
from typing import Any, Final

from onnxlift_runtime import telemetry
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.jobs.triggers import readers
from onnxlift_runtime.jobservice.ingest import Ingest
from onnxlift_runtime.jobservice.process import open_process, take_each
from onnxlift_runtime.manifest import read_manifests

# Longer than the function may run, so that no second process joins what the first still writes.
LEASE_MS: Final = 16 * 60 * 1000


def handler(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
    """Take the messages of an SQS event; answers with those that must come again
    (``ReportBatchItemFailures``).

    The public queue holds callers' messages, the ingest queue S3's notifications and jobs to be
    joined.
    """
    with ingest().service.meter.gathered("ingest"):
        return take_each(event, _take)


@functools.cache
def ingest() -> Ingest:
    """What this process ingests with, made on the first call."""
    process = open_process(os.environ)
    settings = process.settings
    catalog = Catalog.of(read_manifests(settings.models_dir))
    tier_of = lambda model: settings.tiers_of(model)[0]  # noqa: E731
    return Ingest(
        process.service,
        catalog,
        process.notifier.tell,
        readers(settings.service),
        process.owner,
        LEASE_MS,
        tier_of,
    )


def _take(record: Mapping[str, Any]) -> bool:
    """Whether a message is done with; the failure of one leaves the others alone."""
    try:
        ingest().take(record)
    except Exception:
        telemetry.log(
            "error",
            "message not taken",
            message_id=record["messageId"],
            trace=traceback.format_exc(),
        )
        return False
    return True
