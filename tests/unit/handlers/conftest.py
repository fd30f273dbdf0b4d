"""The deployed service in one process: its functions, and moto's table, bucket, queues, bus, topic
and secret.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from handlers import batch, control, escalate, notify, predict
from onnxlift_runtime.aws import clients
from onnxlift_runtime.http.message import Request, Response
from onnxlift_runtime.jobs.job import Job
from onnxlift_runtime.jobs.queueing import decode_job_message
from onnxlift_runtime.names import SWEEP_EVENT, queue_name, webhook_queue_name
from onnxlift_runtime.settings import Settings
from tests.support import builders
from tests.support.runtime.cloud import one_at_a_time
from tests.support.runtime.job_service import create_table

SERVICE, MODEL, ME = "test", "tiny", "key:me"
INFER = f"/v2/models/{MODEL}/infer"
_CACHED = (
    clients._client,
    predict.settings,
    predict.engine,
    predict.intake,
    predict._routes,
    control.service,
    control.jobs_api,
    control._job_routes,
    batch.worker,
    escalate.process,
    notify.process,
)
CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)


@dataclass(frozen=True)
class Deployed:
    """The service as its callers and its schedule see it."""

    sqs: Any
    s3: Any

    def call(
        self, method: str, path: str, body: bytes = b"", caller: str = ME, **headers: str
    ) -> Response:
        """Send a request as API Gateway would; header names are written with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        plain, _, search = path.partition("?")
        query = dict(item.split("=", 1) for item in search.split("&")) if search else {}
        request = Request(method, plain, sent, query, body, caller=caller)
        function = predict if plain.startswith(("/v2/models/", "/v1/models/")) else control
        return Response.from_event(function.handler(request.to_event(), None))

    def infer(self, number: float = 0.0, rows: int = 1, **headers: str) -> Response:
        """Ask for a job that repeats ``number`` in every row."""
        return self.call(
            "POST", INFER, body(number, rows), **({"prefer": "respond-async"} | headers)
        )

    def submit(self, number: float = 0.0, rows: int = 1, **headers: str) -> str:
        """The id of a new job."""
        answer = self.infer(number, rows, **headers)
        assert answer.status == 202, answer.body
        job_id: str = json.loads(answer.body)["id"]
        return job_id

    def show(self, job_id: str) -> Any:
        """A job as the API tells it."""
        return json.loads(self.call("GET", f"/v2/jobs/{job_id}").body)

    def job(self, job_id: str) -> Job:
        """A job as the table has it."""
        return batch.worker().service.table.get(job_id)

    def receive(self, name: str) -> list[dict[str, Any]]:
        """The records of every message that waits in a queue, as an event source has them."""
        url = self.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        found: list[dict[str, Any]] = []
        attributes = ["ApproximateReceiveCount"]
        while messages := self.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=attributes
        ).get("Messages"):
            found += [_record(name, message) for message in messages]
        return found

    def work(self) -> Any:
        """Let the batch function take everything that waits; returns the ids of messages that must
        come again.
        """
        records = self.receive(queue_name(SERVICE, MODEL, "lambda"))
        return batch.handler({"Records": records}, CONTEXT)["batchItemFailures"]

    def announced(self) -> list[str]:
        """The jobs whose messages wait."""
        return [
            decode_job_message(record["body"])
            for record in self.receive(queue_name(SERVICE, MODEL, "lambda"))
        ]

    def sweep(self) -> Any:
        """What one sweep did."""
        return control.handler(SWEEP_EVENT, None)


def body(number: float = 0.0, rows: int = 1) -> bytes:
    """A request whose answer repeats ``number``."""
    data = [number] * 2 * rows
    return json.dumps(
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [rows, 2], "data": data}]}
    ).encode()


def error_of(response: Response) -> str:
    told: str = json.loads(response.body)["error"]
    return told


def data_of(response: Response) -> Any:
    """The elements of the answer's one output."""
    assert response.status == 200, response.body
    return json.loads(response.body)["outputs"][0]["data"]


def later(deployed: Deployed, monkeypatch: pytest.MonkeyPatch, milliseconds: int) -> None:
    """Move the clock of the control function."""
    service = control.jobs_api().service
    clock = service.clock
    moved = replace(service, clock=lambda: clock() + milliseconds)
    jobs_api = replace(control.jobs_api(), service=moved)
    control._job_routes.cache_clear()
    monkeypatch.setattr(control, "jobs_api", lambda: jobs_api)


@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """A service with jobs, webhooks, an event bus and a topic; nothing waits in its queues."""
    builders.write_artifact(
        tmp_path, builders.identity("FP32", (-1, -1)), name=MODEL, max_batch_size=100_000
    )
    settings = Settings(
        service=SERVICE,
        models_dir=tmp_path,
        threads=1,
        jobs_table="jobs",
        data_bucket="data",
        batch_workers=2,
    )
    with one_at_a_time():
        _set_environment(
            monkeypatch, {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        )
        _set_environment(monkeypatch, {"AWS_DEFAULT_REGION": "eu-central-1"})
        told = _create(replace(settings, event_bus="bus", webhook_secret="webhooks"))
        _set_environment(monkeypatch, told.to_env())
        _forget()
        yield Deployed(boto3.client("sqs"), boto3.client("s3"))
        _forget()


def _create(settings: Settings) -> Settings:
    """Make what the CDK app makes; returns the settings with the names that AWS gave."""
    create_table(boto3.client("dynamodb"))
    boto3.client("s3").create_bucket(
        Bucket="data", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    sqs = boto3.client("sqs")
    for name in (
        queue_name(SERVICE, MODEL, "lambda"),
        queue_name(SERVICE, MODEL, "join"),
        webhook_queue_name(SERVICE),
    ):
        sqs.create_queue(QueueName=name)
    boto3.client("events").create_event_bus(Name=settings.event_bus)
    boto3.client("secretsmanager").create_secret(Name=settings.webhook_secret, SecretString="old")
    topic = boto3.client("sns").create_topic(Name="finished")["TopicArn"]
    return replace(settings, topic=topic)


def _set_environment(monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str]) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


def _forget() -> None:
    """Let every function start anew."""
    for cached in _CACHED:
        cached.cache_clear()


def _record(name: str, message: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "eventSourceARN": f"arn:aws:sqs:eu-central-1:123456789012:{name}",
    }
