"""What a finished job leaves besides its record: its answer below ``out/``, and word to the job it
is part of.

Each function may be called again for the same job, in any order with others, and after a crash at
any line.
"""

import json

from onnxlift_runtime.errors import JobNotFound
from onnxlift_runtime.jobs.job import Job, JobStatus, Payload
from onnxlift_runtime.jobs.objects import ERROR_SUFFIX, SUFFIXES
from onnxlift_runtime.jobservice import split_join
from onnxlift_runtime.jobservice.service import JobService, describe
from onnxlift_runtime.names import JOIN


def deliver(service: JobService, job: Job) -> None:
    """Write a finished job's answer where its ``delivery`` says, and tell the job that it is a part
    of.
    """
    if job.delivery.output_key:
        _write_newest(service, job)
    if job.delivery.whole:
        split_join.end(service, job)
    if job.tier == JOIN and job.status is JobStatus.CANCELED:
        split_join.cancel(service, job)


def _write_newest(service: JobService, job: Job) -> None:
    """Write the newest job's answer under a key, which several versions of one object share.

    A note in the table says who is the newest. Whoever writes looks again afterwards: had a newer
    job come in between, its answer may have been overwritten and is written once more.
    """
    newest, suffixes = _register(service, job)
    while newest.final:  # one that was retried writes its answer when it ends again
        _write(service, newest, suffixes)
        written, (newest, suffixes) = newest, _register(service, newest)
        if newest.id == written.id:
            return


def _register(service: JobService, job: Job) -> tuple[Job, frozenset[str]]:
    """Stand as the newest job of an output key unless a newer one does.

    Returns the one that does, and the suffixes under which an answer may stand by now.
    """
    note_id = f"output#{job.delivery.output_key}"
    note = service.table.note(
        note_id,
        UpdateExpression="SET #order = :order, job = :job, expire_at_s = :expires ADD suffixes "
        ":suffixes",
        ConditionExpression="attribute_not_exists(id) OR #order <= :order",
        ExpressionAttributeNames={"#order": "order"},
        ExpressionAttributeValues={
            ":order": {"S": job.delivery.output_order},
            ":job": {"S": job.id},
            ":expires": {"N": str(service.note_expires_s())},
            ":suffixes": {"SS": [_suffix(job)]},
        },
    )
    note = note or service.table.read_note(note_id)
    try:
        newest = job if note["job"] == job.id else service.table.get(note["job"])
    except JobNotFound:  # the newer job's record has gone, and its answer with it
        newest = job
    return newest, frozenset(note["suffixes"])


def _suffix(job: Job) -> str:
    if job.status is not JobStatus.SUCCEEDED or job.result is None:
        return ERROR_SUFFIX
    return SUFFIXES.get(job.result.headers.get("Content-Type", ""), ".bin")


def _write(service: JobService, job: Job, suffixes: frozenset[str]) -> None:
    """Write the answer, then remove those of other kinds; one that never stood there would leave a
    delete marker.
    """
    key, suffix = job.delivery.output_key, _suffix(job)
    if suffix == ERROR_SUFFIX or job.result is None:
        service.store.put(_explanation(job), key + suffix)
    else:
        service.store.copy(job.result, key + suffix)
    if others := [key + other for other in sorted(suffixes - {suffix})]:
        service.store.delete(others)


def _explanation(job: Job) -> Payload:
    document = {"error": job.error or f"the job is {job.status}", "job": describe(job)}
    return Payload.of(
        json.dumps(document, indent=2).encode() + b"\n", {"Content-Type": "application/json"}
    )
