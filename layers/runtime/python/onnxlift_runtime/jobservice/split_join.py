"""One large file as many jobs, and their answers as one again.

::

    whole (tier "join", QUEUED) ──▶ part 1 … part n (ordinary jobs) ──▶ each tells the note
    ──last──▶ message ──▶ join

Everything is found again by name: a part's id follows from the whole's id and its number, and the
note that gathers which parts have ended is a set. Splitting and telling may therefore stop at any
line and start over. Joining is an ordinary attempt at the whole job: claimed under a lease, written
under a key of its own, published by the table alone.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from onnxlift_runtime.aws.objects import result_key
from onnxlift_runtime.errors import (
    JobConflict,
    JobNotFound,
    LeaseLost,
    MalformedRequest,
    OnnxliftError,
    RequestError,
)
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs.job import Delivery, Job, JobStatus, Payload, job_id
from onnxlift_runtime.jobs.lines import Cut, cut_lines
from onnxlift_runtime.jobs.objects import (
    FIRST_LINE_HEADER,
    FORMAT_HEADER,
    JSON_LINES,
    PART_BYTES,
    PART_LINES,
)
from onnxlift_runtime.jobservice.service import JobService, Submission
from onnxlift_runtime.names import JOIN

# The whole outlives its parts, so that it can tell which of them expired.
_LONGER_MS: Final = 3600 * 1000
_ANSWER: Final = {"Content-Type": "application/x-ndjson"}


def split(service: JobService, asked: Submission) -> Job:
    """Submit an object of JSON lines as one job with many parts; returns the whole, failed where it
    cannot be cut.
    """
    whole = service.record(
        replace(asked, tier=JOIN, reason="in parts", ttl_ms=asked.ttl_ms + _LONGER_MS)
    )
    if whole.status is not JobStatus.QUEUED:
        return whole
    try:
        count = _submit_parts(service, asked, whole)
    except RequestError as error:
        why = str(error)
        return service.table.change(
            whole.id, lambda job: lifecycle.abandon(job, why, service.clock()), seen=whole
        )
    _note(service, whole.id, "SET parts = :parts", {":parts": {"N": str(count)}})
    return whole


def _submit_parts(service: JobService, asked: Submission, whole: Job) -> int:
    """Submit every part, those again that are there already; returns how many they are."""
    count, pieces = 0, service.store.read(asked.payload)
    for count, cut in enumerate(
        cut_lines(pieces, PART_BYTES, PART_LINES, service.limits.max_json_bytes), 1
    ):
        service.submit(_part(asked, whole, count, cut))
    if not count:
        raise MalformedRequest(f"object {asked.payload.key!r} has no line")
    return count


def end(service: JobService, part: Job) -> None:
    """Note that a part has ended; the last one asks for the join."""
    _note(
        service,
        part.delivery.whole,
        "ADD ended :part",
        {":part": {"NS": [str(part.delivery.part)]}},
    )


def cancel(service: JobService, whole: Job) -> None:
    """Stop the parts of a job that was canceled."""
    for part_id in _part_ids(service, whole):
        try:
            service.cancel(part_id, whole.caller)
        except (JobConflict, JobNotFound):
            continue  # it had ended, or was never made


def join(service: JobService, whole_id: str, owner: str, lease_ms: int) -> Job | None:
    """Join the answers of all parts in their order; returns the whole as it ended.

    None where parts are still to come; where the whole was retried, its failed parts are retried
    first. Raises ``JobConflict`` where another holds it, whose death the message must outlive.
    """
    whole = service.get(whole_id, None)
    if whole.final:
        return whole
    note = service.table.read_note(_note_id(whole_id))
    if whole.status is JobStatus.QUEUED and whole.revision > 1:  # somebody retried it
        note = _retry_parts(service, whole, note)
    if not _complete(note):
        return None
    held = service.table.change(
        whole_id, lambda job: lifecycle.claim(job, owner, service.clock(), lease_ms), seen=whole
    )
    try:
        return _join_held(service, held)
    except LeaseLost:
        return None


def _join_held(service: JobService, held: Job) -> Job:
    try:
        result = service.store.write(_answers(service, held), _ANSWER, result_key(held))
    except OnnxliftError as error:
        why, leave = str(error), lifecycle.release if error.retryable else lifecycle.fail
        whole = service.table.change(
            held.id, lambda job: leave(job, held, why, service.clock()), seen=held
        )
        if not whole.final:
            raise
        return whole
    return service.table.change(
        held.id, lambda job: lifecycle.succeed(job, held, result, service.clock()), seen=held
    )


def _retry_parts(service: JobService, whole: Job, note: dict[str, Any]) -> dict[str, Any]:
    """Queue the parts that did not succeed again, once for each retry of the whole; returns the
    note as it then is.

    They are first taken out of the note and then queued: whoever starts over finds the same ones
    still to be queued.
    """
    found = [service.table.get(part_id) for part_id in _part_ids(service, whole)]
    failed = [part for part in found if part.final and part.status is not JobStatus.SUCCEEDED]
    if failed and note.get("retried") != whole.revision:
        numbers = [str(part.delivery.part) for part in failed]
        values = {":failed": {"NS": numbers}, ":revision": {"N": str(whole.revision)}}
        update = "DELETE ended :failed SET retried = :revision"
        note = (
            service.table.note(
                _note_id(whole.id), UpdateExpression=update, ExpressionAttributeValues=values
            )
            or {}
        )
    for part in failed:
        if part.delivery.part not in note.get("ended", ()):
            service.retry(part.id, part.caller)
    return note


def _answers(service: JobService, whole: Job) -> Iterator[bytes]:
    ids = _part_ids(service, whole)
    found = [service.table.get(part_id) for part_id in ids]
    for part in found:  # before the first byte is written
        if part.result is None:
            first = part.payload.headers[FIRST_LINE_HEADER]
            raise MalformedRequest(
                f"part {part.delivery.part} of {len(ids)}, from line {first}, is {part.status}: "
                f"{part.error}"
            )
    for part in found:
        assert part.result is not None
        yield from service.store.read(part.result)


def _part(asked: Submission, whole: Job, number: int, cut: Cut) -> Submission:
    headers = {FORMAT_HEADER: JSON_LINES, FIRST_LINE_HEADER: str(cut.first)}
    return replace(
        asked,
        payload=Payload.of(cut.body, headers),
        key=_part_key(whole.id, number),
        reason=f"part {number} of job {whole.id}",
        delivery=Delivery(whole=whole.id, part=number),
    )


def _part_key(whole_id: str, number: int) -> str:
    return json.dumps([whole_id, number])


def _part_ids(service: JobService, whole: Job) -> list[str]:
    """The ids of all parts, in order; none while it is not known how many there are."""
    count = service.table.read_note(_note_id(whole.id)).get("parts", 0)
    return [job_id(whole.caller, _part_key(whole.id, number)) for number in range(1, count + 1)]


def _note_id(whole_id: str) -> str:
    return f"parts#{whole_id}"


def _note(service: JobService, whole_id: str, update: str, values: dict[str, Any]) -> None:
    """Change the note of a whole job; where it then is complete, ask for the join, once more than
    needed at worst.
    """
    setting = "expire_at_s = :expires"
    expression = f"{update}, {setting}" if update.startswith("SET") else f"{update} SET {setting}"
    note = service.table.note(
        _note_id(whole_id),
        UpdateExpression=expression,
        ExpressionAttributeValues={**values, ":expires": {"N": str(service.note_expires_s())}},
    )
    if note and _complete(note):
        try:
            service.queues.send(service.table.get(whole_id))
        except JobNotFound:
            return


def _complete(note: dict[str, Any]) -> bool:
    ended, parts = note.get("ended"), note.get("parts")
    return isinstance(ended, set) and len(ended) == parts
