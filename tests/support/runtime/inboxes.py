"""The bucket, the queues and a worker around an ``Ingest``, as the functions of a deployed service
are.
"""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import numpy as np

from onnxlift_runtime.dataplane.engine import Engine
from onnxlift_runtime.jobs.job import Job
from onnxlift_runtime.jobs.messages import Call
from onnxlift_runtime.jobs.triggers import readers
from onnxlift_runtime.jobservice import outputs
from onnxlift_runtime.jobservice.ingest import Ingest
from onnxlift_runtime.jobservice.service import JobService
from onnxlift_runtime.jobservice.worker import Worker
from onnxlift_runtime.names import ingest_queue_name, queue_name
from onnxlift_runtime.settings import Limits, Settings
from tests.support.builders import identities, identity, write_artifact
from tests.support.runtime.job_service import SERVICE

LEASE_MS = 60_000
MODELS = ("tiny", "pair", "words", "pixels")
ROWS = np.array([[1, 2], [3, 4]], dtype=np.float32)
CALL = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [5, 6]}]}
LIMITS = Limits(max_tensor_bytes=10_000, max_json_bytes=10_000)


@dataclass
class Teller:
    """Writes answers as the notifier does, and remembers whom it told of."""

    service: JobService
    jobs: list[Job] = field(default_factory=list)

    def tell(self, job: Job) -> None:
        self.jobs.append(job)
        outputs.deliver(self.service, job)


@dataclass(frozen=True)
class Inbox:
    """Drop objects and messages, let them be worked on, and look below ``out/``."""

    service: JobService
    ingest: Ingest
    worker: Worker
    teller: Teller

    @classmethod
    def open(cls, service: JobService, root: Path) -> "Inbox":
        write_artifact(root, identity("FP32", (-1, 2)), name="tiny")
        write_artifact(
            root, identities({"a": ("FP32", (-1, 2)), "b": ("INT64", (-1, 1))}), name="pair"
        )
        write_artifact(root, identity("BYTES", (-1, 1)), name="words")
        write_artifact(root, identity("UINT8", (-1, 3, -1, -1)), name="pixels")
        sqs = service.queues._client
        for name in (
            ingest_queue_name(SERVICE),
            *(queue_name(SERVICE, model, "lambda") for model in MODELS),
        ):
            sqs.create_queue(QueueName=name)
        engine = Engine.open(Settings(models_dir=root, threads=1), LIMITS)
        teller = Teller(service)
        ingest = Ingest(
            service, engine.catalog, teller.tell, readers(SERVICE), "ingest-1", LEASE_MS
        )
        return cls(service, ingest, Worker(service, engine, teller, "worker-1", 10**6), teller)

    def put(self, key: str, body: bytes) -> str:
        """Store an object; returns S3's notification of it."""
        client = self.service.store._client
        version = client.put_object(Bucket="data", Key=key, Body=body)["VersionId"]
        sequencer = f"{self.service.clock():016X}"
        return notification(key, len(body), version=version, sequencer=sequencer)

    def drop(self, key: str, body: bytes) -> None:
        """Store an object and let everything that follows happen."""
        self.take(self.put(key, body))
        self.settle()

    def take(self, body: str) -> None:
        """Hand a message of the ingest queue over, as SQS does."""
        arn = f"arn:aws:sqs:us-east-1:123456789012:{ingest_queue_name(SERVICE)}"
        self.ingest.take({"messageId": "m-1", "body": body, "eventSourceARN": arn})

    def settle(self) -> None:
        """Work on all messages until none is left."""
        while self._work() + self._join():
            pass

    def message(self, document: Any, message_id: str = "m-1") -> Job:
        body = document if isinstance(document, str) else json.dumps(document)
        return self.ingest.take_call(Call("sqs:sender", body, message_id))

    def out(self) -> dict[str, bytes]:
        """Every object below ``out/`` with its content."""
        client = self.service.store._client
        listed = client.list_objects_v2(Bucket="data", Prefix="out/").get("Contents", [])
        return {
            item["Key"].removeprefix("out/"): client.get_object(Bucket="data", Key=item["Key"])[
                "Body"
            ].read()
            for item in listed
        }

    def jobs(self, caller: str = "s3") -> list[Job]:
        return [
            self.service.table.get(job.id)
            for job in self.service.table.list(caller, limit=1_000).jobs
        ]

    def receive(self, name: str) -> list[str]:
        """Take all messages of a queue."""
        client, found = self.service.queues._client, []
        url = client.get_queue_url(QueueName=name)["QueueUrl"]
        while batch := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            found += [message["Body"] for message in batch]
        return found

    def _work(self) -> int:
        bodies = [
            body for model in MODELS for body in self.receive(queue_name(SERVICE, model, "lambda"))
        ]
        self.worker.work([json.loads(body)["job"] for body in bodies], LEASE_MS)
        return len(bodies)

    def _join(self) -> int:
        bodies = self.receive(ingest_queue_name(SERVICE))
        for body in bodies:
            self.take(body)
        return len(bodies)


def notification(
    key: str, size_bytes: int = 1, *, version: str = "", sequencer: str = "", etag: str = "e"
) -> str:
    """S3's own message for one created object."""
    found = {
        "key": quote_plus(key),
        "size": size_bytes,
        "eTag": etag,
        "versionId": version,
        "sequencer": sequencer,
    }
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "eventTime": "2026-01-01T00:00:00.000Z",
        "s3": {
            "bucket": {"name": "data"},
            "object": {name: value for name, value in found.items() if value != ""},
        },
    }
    return json.dumps({"Records": [record]})


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
