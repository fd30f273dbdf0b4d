"""Callers that submit at the same time, each job in one of three ways, and some of them twice."""

import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchmarks.jobs.setting import BUCKET, MODEL, SERVICE, Setting, aws
from onnxlift.client import Client, Jobs
from onnxlift.local.process import RunningService
from onnxlift_runtime.names import LAMBDA, queue_name
from onnxlift_runtime.tensors.arrays import Array

AGAIN_EVERY: Final = 10
LOOK_EVERY: Final = 5
MOST_WAITING: Final = 150  # moto looks at every message of a queue for each that it gives out


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller's connections."""

    jobs: Jobs
    sqs: Any
    queue_url: str
    s3: Any

    def submit(self, number: int, array: Array) -> None:
        """Submit one input, by API, queue or bucket in turn."""
        ways = (self._by_api, self._by_queue, self._by_bucket)
        ways[number % len(ways)](number, array)

    def waiting(self) -> int:
        """How many messages the service has not got to yet."""
        names = (f"{SERVICE}-jobs", f"{SERVICE}-ingest", queue_name(SERVICE, MODEL, LAMBDA))
        urls = (self.queue_url.replace(f"{SERVICE}-jobs", name) for name in names)
        wanted = "ApproximateNumberOfMessages"
        found = (
            self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[wanted]) for url in urls
        )
        return sum(int(answer["Attributes"][wanted]) for answer in found)

    def _by_api(self, number: int, array: Array) -> None:
        for _ in range(_times(number)):
            self.jobs.submit(MODEL, {"x": ("FP32", array)}, key=f"request {number}")

    def _by_queue(self, number: int, array: Array) -> None:
        tensor = {
            "name": "x",
            "shape": array.shape,
            "datatype": "FP32",
            "data": array.ravel().tolist(),
        }
        body = json.dumps(
            {"model": MODEL, "inputs": [tensor], "idempotency_key": f"message {number}"}
        )
        for _ in range(_times(number)):
            self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=body)

    def _by_bucket(self, number: int, array: Array) -> None:
        file = io.BytesIO()
        np.save(file, array)
        self.s3.put_object(Bucket=BUCKET, Key=f"in/{MODEL}/{number}.npy", Body=file.getvalue())


def submit_all(setting: Setting, service: RunningService, callers: int) -> float:
    """Submit every input; returns how many seconds it took."""
    started = time.perf_counter()
    numbers = range(len(setting.inputs))
    with ThreadPoolExecutor(callers) as pool:
        parts = [
            pool.submit(_submit_some, setting, service, numbers[start::callers])
            for start in range(callers)
        ]
        for part in parts:
            part.result()
    return time.perf_counter() - started


def _submit_some(setting: Setting, service: RunningService, numbers: range) -> None:
    sqs = aws(service, "sqs")
    url = sqs.get_queue_url(QueueName=f"{SERVICE}-jobs")["QueueUrl"]
    with Client(service.url) as client:
        caller = Caller(Jobs(client), sqs, url, aws(service, "s3"))
        for index, number in enumerate(numbers):
            while index % LOOK_EVERY == 0 and caller.waiting() > MOST_WAITING:
                time.sleep(1)
            caller.submit(number, setting.inputs[number])


def _times(number: int) -> int:
    """How often a caller sends the same, as one does that got no answer."""
    return 2 if number % AGAIN_EVERY == 0 else 1
