"""The image's other command: jobs out of a queue, with a container where Lambda stands."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.images.engine import ContainerEngine
from onnxlift.config import Config, load_config
from onnxlift.local.functions.poller import Poller
from onnxlift.local.functions.service import settings
from onnxlift.local.moto.cloud import Cloud, open_cloud
from onnxlift.local.moto.resources import client
from onnxlift.topology import job_source
from onnxlift_runtime.settings import Settings
from tests.image.conftest import HUNGRY_MEMORY_MB
from tests.image.container import RunningFunction, running_function
from tests.image.events import decoded, infer

BATCH = "handlers.batch.handler"


@pytest.fixture(scope="module")
def config(config_path: Path) -> Config:
    return load_config(config_path)


@pytest.fixture(scope="module")
def cloud(config_path: Path) -> Iterator[Cloud]:
    with open_cloud(config_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def environ(config: Config, cloud: Cloud) -> Mapping[str, str]:
    told = settings(config, Settings().models_dir, threads=0, workers=1)
    return cloud.environment({}) | told.to_env()


@pytest.fixture(scope="module")
def predict(
    engine: ContainerEngine, image: str, environ: Mapping[str, str]
) -> Iterator[RunningFunction]:
    with running_function(engine, image, environ=environ) as function:
        yield function


def submit(predict: RunningFunction, model: str, datatype: str, data: list[Any]) -> str:
    answer = predict.invoke(infer(model, datatype, data, {"prefer": "respond-async"}))
    assert answer["statusCode"] == 202
    return str(decoded(answer)["id"])


def work(config: Config, cloud: Cloud, model: str, function: RunningFunction) -> dict[str, str]:
    """Let the function have what its queue holds, in one event as Lambda does; returns what is in
    the queue then.
    """
    sqs = client("sqs", cloud.url)
    source = replace(job_source(config, model), batch_size=10)
    url = sqs.get_queue_url(QueueName=source.queue)["QueueUrl"]
    Poller(source, function.invoke, sqs).poll(url)
    held: dict[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])[
        "Attributes"
    ]
    return held


def job(cloud: Cloud, config: Config, job_id: str) -> dict[str, Any]:
    table = settings(config, Settings().models_dir, threads=0, workers=1).jobs_table
    found = client("dynamodb", cloud.url).get_item(
        TableName=table, Key={"id": {"S": job_id}}, ConsistentRead=True
    )
    item: dict[str, Any] = found["Item"]
    return item


def test_jobs_of_one_event_are_done_and_their_messages_deleted(
    engine: ContainerEngine,
    image: str,
    environ: Mapping[str, str],
    config: Config,
    cloud: Cloud,
    predict: RunningFunction,
) -> None:
    jobs = [submit(predict, "linear", "FP32", [1, 2, 3, number]) for number in range(3)]

    with running_function(engine, image, BATCH, environ=environ) as batch:
        queue = work(config, cloud, "linear", batch)

    assert [job(cloud, config, job_id)["status"]["S"] for job_id in jobs] == ["SUCCEEDED"] * 3
    assert (
        queue["ApproximateNumberOfMessages"],
        queue["ApproximateNumberOfMessagesNotVisible"],
    ) == ("0", "0")


def test_a_job_that_takes_too_much_memory_leaves_its_message_in_the_queue(
    engine: ContainerEngine,
    image: str,
    environ: Mapping[str, str],
    config: Config,
    cloud: Cloud,
    predict: RunningFunction,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job_id = submit(predict, "hungry", "INT64", [400_000_000])

    with running_function(
        engine, image, BATCH, memory_mb=HUNGRY_MEMORY_MB, environ=environ
    ) as batch:
        queue = work(config, cloud, "hungry", batch)

    assert "signal: killed" in caplog.text
    assert queue["ApproximateNumberOfMessagesNotVisible"] == "1"
    assert job(cloud, config, job_id)["status"]["S"] == "RUNNING"
