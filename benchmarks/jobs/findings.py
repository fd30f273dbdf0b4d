"""What became of the jobs, read from the table, and what should not have."""

import io
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np

from benchmarks.jobs.setting import BUCKET, MODEL, SERVICE, Setting, aws
from onnxlift.client import decode_answer
from onnxlift.local.process import RunningService
from onnxlift_runtime.aws.items import decode_item
from onnxlift_runtime.aws.objects import ObjectStore, result_key
from onnxlift_runtime.jobs.job import Job, JobStatus
from onnxlift_runtime.names import BY_QUEUE, OUT_PREFIX, RESULTS_PREFIX, table_name

GIVE_UP_S: Final = 420.0
MAX_RESULT_BYTES: Final = 1 << 20
LOOKS_TAKE: Final = 0.1  # of the time: whoever looks at everything holds everybody else up


@dataclass(frozen=True, slots=True)
class Findings:
    """Figures by name, and one line for each thing that is wrong."""

    figures: Mapping[str, str]
    problems: tuple[str, ...]

    def with_kills(self, kills: int) -> "Findings":
        """The same with the number of workers that were killed."""
        return replace(self, figures={**self.figures, "workers killed": str(kills)})


def find(setting: Setting, service: RunningService, submitting_s: float) -> Findings:
    """Wait until every input has a job and every job has ended, then compare."""
    _wait(service, len(setting.inputs))
    jobs = _read(service)
    store = ObjectStore(aws(service, "s3"), BUCKET)
    versions = _versions(service, RESULTS_PREFIX)
    took_ms = [job.finished_ms - job.created_ms for job in jobs if job.final] or [0]
    attempts = Counter(job.attempt for job in jobs)
    published = {job.result.key for job in jobs if job.result and job.result.key}
    orphans = len(set(versions) - published)
    figures = {
        "jobs": f"{len(jobs):,}",
        "ended": _told(Counter(job.status for job in jobs)),
        "by caller": _told(Counter(map(_way, jobs))),
        "results in the bucket": f"{len(published):,} published, {orphans:,} of attempts that died",
        "answers below out/": f"{len(_versions(service, OUT_PREFIX)):,}",
        "submitting took": f"{submitting_s:.1f} s",
        "from the first submission to the last end": f"{_span_s(jobs):.1f} s",
        "from submission to end, median": f"{np.median(took_ms):,.0f} ms",
        "from submission to end, 99th percentile": f"{np.percentile(took_ms, 99):,.0f} ms",
        "attempts": ", ".join(
            f"{count:,} jobs took {number}" for number, count in sorted(attempts.items())
        ),
    }
    problems = [
        *_unfinished(service, jobs),
        *_problems(setting, jobs, store),
        *_overwritten(jobs, versions),
    ]
    return Findings(figures, tuple(problems))


def _span_s(jobs: list[Job]) -> float:
    ended = [job.finished_ms for job in jobs if job.final]
    return (max(ended) - min(job.created_ms for job in jobs)) / 1000 if ended else 0


def _wait(service: RunningService, count: int) -> None:
    """Wait for the end of all, or for ``GIVE_UP_S``."""
    dynamodb, started = aws(service, "dynamodb"), time.monotonic()
    while time.monotonic() - started < GIVE_UP_S:
        looked = time.monotonic()
        if not sum(map(sum, _messages(service).values())) and _all_ended(dynamodb, count):
            break
        time.sleep(max(1, (time.monotonic() - looked) / LOOKS_TAKE))


def _messages(service: RunningService) -> dict[str, tuple[int, int]]:
    """How many messages each queue has, visible and hidden."""
    sqs, found = aws(service, "sqs"), {}
    for url in sqs.list_queues()["QueueUrls"]:
        counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        hidden = int(counts["ApproximateNumberOfMessagesNotVisible"])
        found[url.rpartition("/")[2]] = (int(counts["ApproximateNumberOfMessages"]), hidden)
    return found


def _all_ended(dynamodb: Any, count: int) -> bool:
    table = {"TableName": table_name(SERVICE), "Select": "COUNT"}
    unfinished = dynamodb.query(
        **table,
        IndexName=BY_QUEUE,
        KeyConditionExpression="queue = :queue",
        ExpressionAttributeValues={":queue": {"S": f"{MODEL}#lambda"}},
    )["Count"]
    if unfinished:
        return False
    pages = dynamodb.get_paginator("scan").paginate(
        **table, FilterExpression="attribute_exists(revision)"
    )
    return sum(int(page["Count"]) for page in pages) >= count


def _read(service: RunningService) -> list[Job]:
    pages = (
        aws(service, "dynamodb")
        .get_paginator("scan")
        .paginate(TableName=table_name(SERVICE), ConsistentRead=True)
    )
    return [decode_item(item) for page in pages for item in page["Items"] if "revision" in item]


def _versions(service: RunningService, prefix: str) -> Counter[str]:
    """How often each object below a prefix was written."""
    found: Counter[str] = Counter()
    for page in (
        aws(service, "s3")
        .get_paginator("list_object_versions")
        .paginate(Bucket=BUCKET, Prefix=prefix)
    ):
        found.update(item["Key"] for item in page.get("Versions", ()))
    return found


def _unfinished(service: RunningService, jobs: list[Job]) -> list[str]:
    """Where what did not end stands."""
    waiting = [job for job in jobs if not job.final]
    if not waiting:
        return []
    held = sum(
        job.status is JobStatus.RUNNING and job.lease_until_ms < time.time() * 1000
        for job in waiting
    )
    counts = {name: found for name, found in _messages(service).items() if any(found)}
    return [
        f"unfinished: {_told(Counter(f'{job.status} on {job.tier}' for job in waiting))}; {held} "
        f"beyond their lease",
        f"messages, visible and hidden: {counts}",
    ]


def _told(counts: Counter[Any]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def _problems(setting: Setting, jobs: list[Job], store: ObjectStore) -> list[str]:
    told = [
        f"job {job.id} is {job.status} after {job.attempt} attempts: {job.error}"
        for job in jobs
        if not _good(job)
    ]
    by_input = {array[-1].tobytes(): number for number, array in enumerate(setting.inputs)}
    found = Counter(_number(job, by_input, store) for job in jobs)
    told += [
        f"input {number} has {found[number]} jobs"
        for number in range(len(setting.inputs))
        if found[number] != 1
    ]
    return told + [
        f"job {job.id} has a wrong result"
        for job in jobs
        if _good(job) and _differs(job, setting, by_input, store)
    ]


def _overwritten(jobs: list[Job], versions: Mapping[str, int]) -> list[str]:
    """What stands where only one attempt may write: each result once, published by the attempt that
    succeeded.
    """
    told = [
        f"result {key} was written {count} times" for key, count in versions.items() if count > 1
    ]
    published = [(job, job.result.key) for job in jobs if job.result and job.result.key]
    return told + [
        f"job {job.id} publishes {key}" for job, key in published if key != result_key(job)
    ]


def _good(job: Job) -> bool:
    return job.status is JobStatus.SUCCEEDED and job.result is not None


def _way(job: Job) -> str:
    return job.caller.partition(":")[0]


def _number(job: Job, by_input: Mapping[bytes, int], store: ObjectStore) -> int:
    """Which input a job is about; -1 for none of them."""
    if _way(job) == "s3":
        return int(PurePosixPath(job.payload.key).stem)
    body = store.fetch(job.payload, MAX_RESULT_BYTES)
    if _way(job) == "sqs":
        body = np.array(json.loads(body)["inputs"][0]["data"], dtype=np.float32).tobytes()
    return by_input.get(body[-16:], -1)


def _differs(job: Job, setting: Setting, by_input: Mapping[bytes, int], store: ObjectStore) -> bool:
    assert job.result is not None
    body = store.fetch(job.result, MAX_RESULT_BYTES)
    return not np.allclose(
        _output(job, body), setting.expected[_number(job, by_input, store)], rtol=1e-5, atol=1e-6
    )


def _output(job: Job, body: bytes) -> Any:
    if _way(job) == "s3":
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            return arrays["y"]
    assert job.result is not None
    return decode_answer(body, job.result.headers).outputs["y"]
