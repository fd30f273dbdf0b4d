"""How long the record of an ended job is kept."""

from typing import Final

from onnxlift_runtime.jobs.job import Job, JobStatus

DAY_MS: Final = 24 * 3600 * 1000


def kept_until_ms(job: Job, keep_days: int) -> int:
    """When the record of an ended job is deleted.

    Counted from the start of the attempt that succeeded: its result is written later, so that the
    bucket, which counts from then, does not delete a result before the record that names it.
    """
    from_ms = job.started_ms if job.status is JobStatus.SUCCEEDED else job.finished_ms
    return from_ms + keep_days * DAY_MS
