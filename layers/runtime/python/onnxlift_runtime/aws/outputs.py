"""What a finished job leaves besides its record: its answer below ``out/``, and word to the job it is part of.

Each function may be called again for the same job, in any order with others, and after a crash at any line.
"""

import json
from typing import Final

from onnxlift_runtime.aws import parts
from onnxlift_runtime.aws.service import JobService, describe
from onnxlift_runtime.errors import JobNotFound
from onnxlift_runtime.inbox import ERROR_SUFFIX, SUFFIXES
from onnxlift_runtime.jobs import KEPT_AFTER_END_MS, Job, JobStatus, Payload
from onnxlift_runtime.layout import JOIN

_ALL_SUFFIXES: Final = (*SUFFIXES.values(), ERROR_SUFFIX)


def deliver(service: JobService, job: Job) -> None:
    """Write a finished job's answer where its ``delivery`` says, and tell the job that it is a part of."""
    if job.delivery.output_key:
        _write_newest(service, job)
    if job.delivery.whole:
        parts.end(service, job)
    if job.tier == JOIN and job.status is JobStatus.CANCELED:
        parts.cancel(service, job)


def _write_newest(service: JobService, job: Job) -> None:
    """Write the newest job's answer under a key, which several versions of one object share.

    A note in the table says who is the newest. Whoever writes looks again afterwards: had a newer job come in between,
    its answer may have been overwritten and is written once more.
    """
    newest = _register(service, job)
    while newest.final:  # one that was retried writes its answer when it ends again
        _write(service, newest)
        written, newest = newest, _register(service, newest)
        if newest.id == written.id:
            return


def _register(service: JobService, job: Job) -> Job:
    """Stand as the newest job of an output key unless a newer one does; returns the one that does."""
    note_id = f"output#{job.delivery.output_key}"
    expires_s = (service.clock() + 2 * KEPT_AFTER_END_MS) // 1000
    note = service.table.note(
        note_id,
        UpdateExpression="SET #order = :order, job = :job, expire_at_s = :expires",
        ConditionExpression="attribute_not_exists(id) OR #order <= :order",
        ExpressionAttributeNames={"#order": "order"},
        ExpressionAttributeValues={
            ":order": {"S": job.delivery.output_order},
            ":job": {"S": job.id},
            ":expires": {"N": str(expires_s)},
        },
    )
    if note is not None:
        return job
    try:
        return service.table.get(service.table.read_note(note_id)["job"])
    except JobNotFound:  # the newer job's record has gone, and its answer with it
        return job


def _write(service: JobService, job: Job) -> None:
    key = job.delivery.output_key
    suffix = ERROR_SUFFIX
    if job.status is JobStatus.SUCCEEDED and job.result is not None:
        suffix = SUFFIXES.get(job.result.headers.get("Content-Type", ""), ".bin")
        service.store.copy(job.result, key + suffix)
    else:
        service.store.put(_explanation(job), key + suffix)
    service.store.delete([key + other for other in _ALL_SUFFIXES if other != suffix])


def _explanation(job: Job) -> Payload:
    document = {"error": job.error or f"the job is {job.status}", "job": describe(job)}
    return Payload.of(json.dumps(document, indent=2).encode() + b"\n", {"Content-Type": "application/json"})
