"""What became of the jobs, read from the table, and what should not have."""

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np

from benchmarks.jobs.setting import BUCKET, SERVICE, Setting, aws
from onnxlift.client import decode_answer
from onnxlift.local.process import RunningService
from onnxlift_runtime.aws.objects import ObjectStore
from onnxlift_runtime.aws.table import decode_item
from onnxlift_runtime.jobs import Job, JobStatus
from onnxlift_runtime.layout import table_name

GIVE_UP_S: Final = 300.0
MAX_RESULT_BYTES: Final = 1 << 20


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
    started = time.perf_counter()
    jobs = _wait(service, len(setting.inputs))
    store = ObjectStore(aws(service, "s3"), BUCKET)
    took_ms = [job.finished_ms - job.created_ms for job in jobs if job.final]
    attempts = Counter(job.attempt for job in jobs)
    figures = {
        "jobs": f"{len(jobs):,}",
        "ended": ", ".join(f"{status} {count:,}" for status, count in Counter(job.status for job in jobs).items()),
        "by caller": ", ".join(f"{name} {count:,}" for name, count in Counter(map(_way, jobs)).items()),
        "submitting took": f"{submitting_s:.1f} s",
        "the last job ended after": f"{submitting_s + time.perf_counter() - started:.1f} s",
        "from submission to end, median": f"{np.median(took_ms):,.0f} ms",
        "from submission to end, 99th percentile": f"{np.percentile(took_ms, 99):,.0f} ms",
        "attempts": ", ".join(f"{count:,} jobs took {number}" for number, count in sorted(attempts.items())),
    }
    return Findings(figures, tuple(_problems(setting, service, jobs, store)))


def _wait(service: RunningService, count: int) -> list[Job]:
    deadline = time.monotonic() + GIVE_UP_S
    while True:
        jobs = _read(service)
        if (len(jobs) >= count and all(job.final for job in jobs)) or time.monotonic() > deadline:
            return jobs
        time.sleep(1)


def _read(service: RunningService) -> list[Job]:
    pages = aws(service, "dynamodb").get_paginator("scan").paginate(TableName=table_name(SERVICE), ConsistentRead=True)
    return [decode_item(item) for page in pages for item in page["Items"] if "revision" in item]


def _problems(setting: Setting, service: RunningService, jobs: list[Job], store: ObjectStore) -> list[str]:
    told = [f"job {job.id} is {job.status} after {job.attempt} attempts: {job.error}" for job in jobs if not _good(job)]
    by_input = {row.tobytes(): number for number, row in enumerate(setting.inputs)}
    found = Counter(_number(job, by_input) for job in jobs)
    told += [f"input {number} has {found[number]} jobs" for number in range(len(setting.inputs)) if found[number] != 1]
    told += [
        f"job {job.id} has a wrong result" for job in jobs if _good(job) and _differs(job, setting, by_input, store)
    ]
    versions: Counter[str] = Counter()
    for page in aws(service, "s3").get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix="results/"):
        versions.update(item["Key"] for item in page.get("Versions", ()))
    return told + [f"result {key} was written {count} times" for key, count in versions.items() if count > 1]


def _good(job: Job) -> bool:
    return job.status is JobStatus.SUCCEEDED and job.result is not None


def _way(job: Job) -> str:
    return job.caller.partition(":")[0]


def _number(job: Job, by_input: Mapping[bytes, int]) -> int:
    """Which input a job is about; -1 for none of them."""
    if job.payload.key:
        return int(PurePosixPath(job.payload.key).stem)
    body = job.payload.body or b""
    if _way(job) == "sqs":
        body = np.array(json.loads(body)["inputs"][0]["data"], dtype=np.float32).tobytes()
    return by_input.get(body[-16:], -1)


def _differs(job: Job, setting: Setting, by_input: Mapping[bytes, int], store: ObjectStore) -> bool:
    assert job.result is not None
    body = store.fetch(job.result, MAX_RESULT_BYTES)
    return not np.allclose(_output(job, body), setting.expected[_number(job, by_input)], rtol=1e-6)


def _output(job: Job, body: bytes) -> Any:
    import io

    if job.payload.key:
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            return arrays["y"]
    assert job.result is not None
    return decode_answer(body, job.result.headers).outputs["y"]
