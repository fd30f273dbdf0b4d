"""Every operation of the document is answered, as it describes, by the function that the API routes
it to.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from openapi_schema_validator import OAS30Validator

from handlers import control
from infra.openapi import Targets
from onnxlift_runtime.aws import clients
from onnxlift_runtime.aws.table import JobTable
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.dataplane.engine import Engine
from onnxlift_runtime.describe.openapi import describe
from onnxlift_runtime.http.edge import answer_event
from onnxlift_runtime.http.message import ANONYMOUS, JSON, Request, Response, dispatch
from onnxlift_runtime.jobs.job import Job, JobStatus, Payload, job_id
from onnxlift_runtime.jobservice.service import now_ms
from onnxlift_runtime.names import queue_name
from onnxlift_runtime.settings import Settings
from tests.support import builders
from tests.support.runtime.cloud import one_at_a_time
from tests.support.runtime.job_service import create_table
from tests.support.runtime.serving import model_routes

Handler = Callable[[dict[str, Any]], dict[str, Any]]

# What each operation asks of the job that its path names; the others take any.
JOBS = {
    "job": JobStatus.RUNNING,
    "result": JobStatus.SUCCEEDED,
    "cancel": JobStatus.QUEUED,
    "retry": JobStatus.FAILED,
}


def id_of(name: str) -> str:
    """The id of one of the jobs."""
    return job_id(ANONYMOUS, name)


@dataclass(frozen=True)
class Service:
    """The functions of a service by the names that its targets give them, and its document."""

    document: dict[str, Any]
    targets: Targets
    handlers: dict[str, Handler]

    def call(self, method: str, path: str, body: bytes) -> Response:
        handler = self.handlers[self.targets.uri(path)]
        path = re.sub(
            r"\{job\}(?:/(\w+))?",
            lambda found: found[0].replace("{job}", id_of(found[1] or "job")),
            path,
        )
        return Response.from_event(handler(Request(method.upper(), path, body=body).to_event()))


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The table with a job for each operation, the queue and the secret."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with one_at_a_time():
        dynamodb = boto3.client("dynamodb")
        create_table(dynamodb)
        for name, status in JOBS.items():
            answer = (
                Payload.of(b"{}", {"Content-Type": JSON}) if status is JobStatus.SUCCEEDED else None
            )
            job = Job(
                id_of(name),
                ANONYMOUS,
                "pair",
                "1",
                Payload.of(b"{}", {}),
                1,
                2**53,
                status=status,
                started_ms=now_ms(),
                finished_ms=now_ms(),
                result=answer,
            )
            JobTable(dynamodb, "jobs").insert(job)
        boto3.client("sqs").create_queue(QueueName=queue_name("demo", "pair", "lambda"))
        boto3.client("secretsmanager").create_secret(
            Name="secret", SecretString="of 24 characters at least"
        )
        yield
    clients._client.cache_clear()


@pytest.fixture
def service(account: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A model with labels and two versions, and one with several inputs, each open in a function of
    its own.
    """
    scores = [builders.spec("probabilities", "FP32", (-1, 2), ("cat", "dog"))]
    two_classes, other_seed = builders.mlp(classes=2), builders.mlp(classes=2, seed=1)
    manifests = [
        builders.write_artifact(
            tmp_path / "a",
            two_classes,
            outputs=scores,
            name="pets",
            version_labels=("stable", "good_1"),
        ),
        builders.write_artifact(
            tmp_path / "a", other_seed, outputs=scores, name="pets", version="2"
        ),
        builders.write_artifact(
            tmp_path / "b",
            builders.identities({"x": ("FP32", (-1, 3)), "text": ("BYTES", (-1, 1))}),
            name="pair",
        ),
    ]
    for folder in ("a", "b"):  # `control` knows all of them
        for path in (tmp_path / folder).glob("*/*/manifest.json"):
            place = tmp_path / "all" / path.relative_to(tmp_path / folder)
            place.parent.mkdir(parents=True)
            place.write_bytes(path.read_bytes())
    settings = Settings(
        service="demo",
        models_dir=tmp_path / "all",
        jobs_table="jobs",
        data_bucket="data",
        webhook_secret="secret",
    )
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    for cached in (control.service, control.jobs_api, control._job_routes, clients._client):
        cached.cache_clear()
    yield Service(
        describe(Catalog.of(manifests), title="demo", api_key_required=False, jobs=True),
        Targets("control", {"pets": "a", "pair": "b"}),
        {
            "control": lambda event: control.handler(event, None),
            "a": predict(tmp_path / "a"),
            "b": predict(tmp_path / "b"),
        },
    )
    for cached in (control.service, control.jobs_api, control._job_routes):
        cached.cache_clear()


def predict(models_dir: Path) -> Handler:
    """What the predict function does, with models of its own."""
    table = model_routes(Engine.open(Settings(models_dir=models_dir, threads=1)))
    return lambda event: answer_event(event, lambda request: dispatch(table, request))


def body_of(operation: dict[str, Any]) -> bytes:
    content = operation.get("requestBody", {}).get("content", {}).get(JSON, {})
    return json.dumps(content["example"]).encode() if "example" in content else b""


def test_every_operation_is_answered_as_documented(service: Service) -> None:
    wrong = []
    for path, methods in service.document["paths"].items():
        for method, operation in methods.items():
            response = service.call(method, path, body_of(operation))
            if (problem := mismatch(service.document, operation, response)) is not None:
                wrong.append(f"{method} {path}: {problem}")

    assert [line for line in wrong if not line.endswith("use :predict")] == []
    # The one thing that a document cannot know: which outputs a model can be regressed or
    # classified with.
    assert {line.split(":")[1] for line in wrong} <= {"regress", "classify"}


def mismatch(document: dict[str, Any], operation: dict[str, Any], response: Response) -> str | None:
    """How an answer differs from the document, or None."""
    if response.status != 200:
        return str(json.loads(response.body)["error"])
    kind = response.headers["Content-Type"].split(";")[0]
    media = operation["responses"]["200"]["content"][kind]
    if kind != JSON:
        return None
    answer = json.loads(response.body)
    if "example" in media and media["example"] != answer:
        return f"the example is {media['example']}, the answer {answer}"
    schema = media["schema"] | {"components": document["components"]}
    return next((error.message for error in OAS30Validator(schema).iter_errors(answer)), None)


def test_every_other_method_is_answered_with_405_or_400(service: Service) -> None:
    statuses = {
        service.call(method, path, b"").status
        for path, methods in service.document["paths"].items()
        for method in {"get", "post", "delete"} - set(methods)
    }

    assert statuses <= {400, 405}  # TensorFlow Serving says 400 where others say 405


def test_the_document_that_control_shows_is_the_one_that_the_api_is_made_from(
    service: Service,
) -> None:
    shown = json.loads(service.call("get", "/openapi.json", b"").body)

    assert shown == json.loads(json.dumps(service.document))
