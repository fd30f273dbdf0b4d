"""Jobs in DynamoDB; every write is conditional on the revision that was read.

Keys: ``id``. Index ``by_caller`` (caller, created_ms) lists a caller's jobs; the sparse index
``by_queue`` (queue, created_ms) holds only jobs that wait or run, for positions and for the sweep.
Indexes have no payloads and no results: jobs that come from them are to be looked at, and are read
again to be changed.
"""

import base64
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from onnxlift_runtime.aws.items import (
    decode_item,
    decode_values,
    encode_item,
    encode_value,
    queue_of,
)
from onnxlift_runtime.errors import JobConflict, JobNotFound, MalformedRequest
from onnxlift_runtime.jobs.job import Job, JobStatus
from onnxlift_runtime.names import BY_CALLER, BY_QUEUE
from onnxlift_runtime.settings import KEEP_DAYS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_TRIES: Final = 8  # a job has at most a handful of writers at once
_LOOKED_AT: Final = 1_000  # jobs that one query looks at where a filter leaves some out
_MAX_QUERIES: Final = 20  # of one page; each takes less than a tenth of a second
_PLACE: Final = re.compile(rb"([0-9]{1,15})/([0-9a-f-]{36})")

Watch = Callable[[Job | None, Job], None]


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs of a list and the cursor that continues it ("" at the end)."""

    jobs: tuple[Job, ...]
    cursor: str


@dataclass(frozen=True, slots=True)
class Overdue:
    """The jobs of one queue that a sweep looks at, the oldest first, and how many wait or run there
    altogether.
    """

    jobs: tuple[Job, ...]
    unfinished: int


class JobTable:
    """The table of all jobs; ``watch`` is called once for each change that it took, with the job
    before and after. An ended job is kept for ``keep_days``.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        name: str,
        watch: Watch = lambda _before, _after: None,
        keep_days: int = KEEP_DAYS,
    ) -> None:
        self.keep_days = keep_days
        self._client = client
        self._name = name
        self._watch = watch

    def insert(self, job: Job) -> bool:
        """Store a new job; False where its id is taken."""
        inserted = self._put(job, "attribute_not_exists(id)")
        if inserted:
            self._watch(None, job)
        return inserted

    def get(self, job_id: str, caller: str | None = None) -> Job:
        """One job as it is now; raises ``JobNotFound``, for another caller's job too."""
        item = self._client.get_item(
            TableName=self._name, Key={"id": {"S": job_id}}, ConsistentRead=True
        ).get("Item")
        # An item without a revision is a note about jobs and not a job.
        if item and "revision" in item:
            job = decode_item(item)
            if caller in (None, job.caller):
                return job
        raise JobNotFound(f"job {job_id!r} does not exist")

    def change(self, job_id: str, transition: Callable[[Job], Job], seen: Job | None = None) -> Job:
        """Apply a transition to the newest state and store the outcome, again from the start where
        somebody was faster.

        ``seen`` is the job as it probably still is, which saves the reading where that is so. What
        ``transition`` raises passes through; raises ``JobConflict`` where the job never held still.
        """
        for turn in range(_TRIES):
            job = seen if seen is not None and turn == 0 else self.get(job_id)
            changed = transition(job)
            if changed is job:
                return changed
            if self._put(changed, "revision = :revision", {":revision": {"N": str(job.revision)}}):
                self._watch(job, changed)
                return changed
            time.sleep(random.uniform(0, 0.01 * 2**turn))  # noqa: S311 - jitter, not a secret
        raise JobConflict(f"job {job_id!r} is being changed by others; try again")

    def list(
        self, caller: str, *, model: str = "", status: str = "", limit: int = 50, cursor: str = ""
    ) -> Page:
        """A caller's jobs, the newest first: ``limit`` of them, or all that there are.

        Among very many jobs of other models and states a page ends early; its cursor then still
        goes on.
        """
        query = self._caller_query(caller, model, status)
        query["Limit"] = _LOOKED_AT if model or status else limit
        found: list[Job] = []
        place = decode_cursor(cursor)
        for _ in range(_MAX_QUERIES):
            if place:
                query["ExclusiveStartKey"] = {"caller": {"S": caller}, **place}
            answer = self._client.query(**query)
            found += [decode_item(item) for item in answer["Items"]]
            place = answer.get("LastEvaluatedKey")
            if len(found) > limit or (place and len(found) == limit):
                return Page(
                    tuple(found[:limit]),
                    encode_cursor(found[limit - 1].created_ms, found[limit - 1].id),
                )
            if not place:
                break
        return Page(
            tuple(found), encode_cursor(place["created_ms"]["N"], place["id"]["S"]) if place else ""
        )

    def ahead(self, job: Job, at_most: int = 1000) -> int:
        """How many jobs wait or run in the same queue and came earlier; counted up to
        ``at_most``.
        """
        answer = self._client.query(
            TableName=self._name,
            IndexName=BY_QUEUE,
            KeyConditionExpression="queue = :queue AND created_ms < :created",
            ExpressionAttributeValues={
                ":queue": {"S": queue_of(job)},
                ":created": {"N": str(job.created_ms)},
            },
            Select="COUNT",
            Limit=at_most,
        )
        return answer["Count"]

    def overdue(self, queue: str, now_ms: int, lost_after_ms: int) -> Overdue:
        """The jobs of a queue that something may have happened to, as the index has them (a moment
        late).

        Those are the ones that are older than ``lost_after_ms``, past their time limit, or held
        beyond a lease.
        """
        values = {
            ":queue": queue,
            ":running": JobStatus.RUNNING,
            ":now": now_ms,
            ":early": now_ms - lost_after_ms,
        }
        pages = self._client.get_paginator("query").paginate(
            TableName=self._name,
            IndexName=BY_QUEUE,
            KeyConditionExpression="queue = :queue",
            FilterExpression="(#status = :running AND lease_until_ms <= :now)"
            " OR (#status <> :running AND (expires_ms <= :now OR created_ms <= :early))",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={name: encode_value(value) for name, value in values.items()},
        )
        found: list[Job] = []
        unfinished = 0
        for page in pages:
            found += [decode_item(item) for item in page["Items"]]
            unfinished += page["ScannedCount"]
        return Overdue(tuple(found), unfinished)

    def read_note(self, note_id: str) -> dict[str, Any]:
        """An item that ``note`` wrote; empty where there is none."""
        answer = self._client.get_item(
            TableName=self._name, Key={"id": {"S": note_id}}, ConsistentRead=True
        )
        return decode_values(answer.get("Item") or {})

    def note(self, note_id: str, **expression: Any) -> dict[str, Any] | None:
        """Update an item that stands beside the jobs and is none: a count, or who came last.

        ``expression`` is DynamoDB's; returns the whole new item, or None where its condition does
        not hold.
        """
        try:
            answer = self._client.update_item(
                TableName=self._name,
                Key={"id": {"S": note_id}},
                ReturnValues="ALL_NEW",
                **expression,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return None
            raise
        return decode_values(answer["Attributes"])

    def _caller_query(self, caller: str, model: str, status: str) -> dict[str, Any]:
        values = {":caller": {"S": caller}}
        filters = []
        for name, value in (("model", model), ("status", status)):
            if value:
                values[f":{name}"] = {"S": value}
                filters.append(f"#{name} = :{name}")
        query: dict[str, Any] = {
            "TableName": self._name,
            "IndexName": BY_CALLER,
            "KeyConditionExpression": "caller = :caller",
            "ExpressionAttributeValues": values,
            "ScanIndexForward": False,
        }
        if filters:
            names = {
                f"#{name}": name for name, value in (("model", model), ("status", status)) if value
            }
            query |= {"FilterExpression": " AND ".join(filters), "ExpressionAttributeNames": names}
        return query

    def _put(self, job: Job, condition: str, values: dict[str, Any] | None = None) -> bool:
        item = encode_item(job, self.keep_days)
        extra: dict[str, Any] = {"ExpressionAttributeValues": values} if values else {}
        try:
            self._client.put_item(
                TableName=self._name, Item=item, ConditionExpression=condition, **extra
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return False
            raise
        return True


def encode_cursor(created_ms: int | str, job_id: str) -> str:
    """The place of a job in its caller's list as one opaque word."""
    return base64.urlsafe_b64encode(f"{created_ms}/{job_id}".encode()).decode("ascii")


def decode_cursor(cursor: str) -> Any:
    """The place that ``encode_cursor`` wrote, in whosever list; None for ""; raises
    ``MalformedRequest``.
    """
    if not cursor:
        return None
    try:
        match = _PLACE.fullmatch(base64.urlsafe_b64decode(cursor))
    except ValueError:
        match = None
    if match is None:
        raise MalformedRequest("'cursor' is not one that a list of jobs gave")
    return {"created_ms": {"N": match[1].decode()}, "id": {"S": match[2].decode()}}
