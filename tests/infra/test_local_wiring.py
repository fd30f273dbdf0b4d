"""What `onnxlift serve` makes on this machine against what the templates make in AWS."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from onnxlift.config import load_config
from onnxlift.local.functions.service import settings
from onnxlift.local.functions.wiring import FUNCTIONS
from onnxlift.local.moto.cloud import Cloud, open_cloud
from onnxlift.local.moto.resources import client
from onnxlift.topology import escalations, sources
from onnxlift_runtime.settings import Settings
from tests.infra.assembly import Assembly, flat

HERE = {"<AWS::AccountId>": "123456789012", "<AWS::Region>": "us-east-1"}


def here(value: Any) -> str:
    """A template's text with the account and region that the local run has."""
    text = flat(value)
    for reference, stands_for in HERE.items():
        text = text.replace(reference, stands_for)
    return text


@pytest.fixture(scope="module")
def cloud(shop: Assembly) -> Iterator[Cloud]:
    with open_cloud(shop.folder.parent / "onnxlift.toml") as opened:
        yield opened


def deployed(shop: Assembly, kind: str) -> list[dict[str, Any]]:
    return [
        resource["Properties"]
        for stack in shop.stacks
        for resource in shop.resources(stack, kind).values()
    ]


def test_the_queues_are_the_same(shop: Assembly, cloud: Cloud) -> None:
    sqs = client("sqs", cloud.url)

    local = {}
    for url in sqs.list_queues()["QueueUrls"]:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        redrive = json.loads(found.get("RedrivePolicy", "{}")).get("maxReceiveCount")
        hidden = int(found["VisibilityTimeout"])
        local[url.rpartition("/")[2]] = (hidden, int(found["MessageRetentionPeriod"]), redrive)

    assert local == {
        queue["QueueName"]: (
            queue.get("VisibilityTimeout"),
            queue["MessageRetentionPeriod"],
            queue.get("RedrivePolicy", {}).get("maxReceiveCount"),
        )
        for queue in deployed(shop, "AWS::SQS::Queue")
    }


def test_the_table_is_the_same(shop: Assembly, cloud: Cloud) -> None:
    (table,) = deployed(shop, "AWS::DynamoDB::Table")

    local = client("dynamodb", cloud.url).describe_table(TableName=table["TableName"])["Table"]

    assert local["KeySchema"] == table["KeySchema"]
    assert {
        found["AttributeName"]: found["AttributeType"] for found in local["AttributeDefinitions"]
    } == {found["AttributeName"]: found["AttributeType"] for found in table["AttributeDefinitions"]}
    names = ("IndexName", "KeySchema", "Projection")
    assert [[index[name] for name in names] for index in local["GlobalSecondaryIndexes"]] == [
        [index[name] for name in names] for index in table["GlobalSecondaryIndexes"]
    ]


def test_the_bucket_is_the_same(shop: Assembly, cloud: Cloud) -> None:
    (bucket,) = deployed(shop, "AWS::S3::Bucket")
    s3 = client("s3", cloud.url)

    (local,) = s3.list_buckets()["Buckets"]

    assert local["Name"] == here(bucket["BucketName"])
    assert (
        s3.get_bucket_versioning(Bucket=local["Name"])["Status"]
        == bucket["VersioningConfiguration"]["Status"]
    )


def test_dropped_objects_take_the_same_way(shop: Assembly, cloud: Cloud) -> None:
    rule = shop.only("shop-jobs", "AWS::Events::Rule")
    events = client("events", cloud.url)

    (local,) = events.list_rules()["Rules"]
    (target,) = events.list_targets_by_rule(Rule=local["Name"])["Targets"]

    pattern = rule["EventPattern"]
    pattern["detail"]["bucket"]["name"] = [
        here(name) for name in pattern["detail"]["bucket"]["name"]
    ]
    assert json.loads(local["EventPattern"]) == pattern
    assert target["Arn"].endswith(":shop-ingest")


def test_an_object_below_in_is_told_to_the_ingest_queue_and_no_other_is(cloud: Cloud) -> None:
    s3, sqs = client("s3", cloud.url), client("sqs", cloud.url)
    (bucket,) = s3.list_buckets()["Buckets"]

    for key in ("out/digits/a.json", "in/digits/a.json", "uploads/a"):
        s3.put_object(Bucket=bucket["Name"], Key=key, Body=b"{}")
    url = sqs.get_queue_url(QueueName="shop-ingest")["QueueUrl"]
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)[
        "Messages"
    ]

    assert [json.loads(message["Body"])["detail"]["object"]["key"] for message in messages] == [
        "in/digits/a.json"
    ]


def test_every_queue_feeds_the_same_function(shop: Assembly) -> None:
    fed = {}
    for stack in shop.stacks:
        resources = shop.template(stack)["Resources"]
        for feed in shop.resources(stack, "AWS::Lambda::EventSourceMapping").values():
            properties = feed["Properties"]
            queue = _queue(resources, properties["EventSourceArn"])
            alias = next(_references(properties["FunctionName"]))
            function = resources[resources[alias]["Properties"]["FunctionName"]["Ref"]][
                "Properties"
            ]
            fed[queue] = (_handler(function), properties["BatchSize"], function["Timeout"])

    config = load_config(shop.folder.parent / "onnxlift.toml")

    assert fed == {
        source.queue: (f"handlers.{source.function}.handler", source.batch_size, source.timeout_s)
        for source in (*sources(config, config.models), *escalations(config, config.models))
    }


def test_every_deployed_function_runs_here_too(shop: Assembly) -> None:
    handlers = {_handler(function) for function in deployed(shop, "AWS::Lambda::Function")}

    assert handlers == {f"handlers.{name}.handler" for name in FUNCTIONS}


def test_functions_are_told_the_same_names(shop: Assembly) -> None:
    config = load_config(shop.folder.parent / "onnxlift.toml")

    local = settings(config, shop.folder, threads=0, workers=1)

    for function in deployed(shop, "AWS::Lambda::Function"):
        variables = {
            name: here(value) for name, value in function["Environment"]["Variables"].items()
        }
        told = Settings.from_env(variables)
        for name in ("service", "jobs_table", "data_bucket", "event_bus", "webhook_secret"):
            assert getattr(told, name) == getattr(local, name)


def _queue(resources: dict[str, Any], arn: Any) -> str:
    """The name of a queue in the same stack, or in another, whose ARN is then written out."""
    if "Fn::GetAtt" not in arn:
        return flat(arn).rpartition(":")[2]
    name: str = resources[arn["Fn::GetAtt"][0]]["Properties"]["QueueName"]
    return name


def _handler(function: dict[str, Any]) -> str:
    handler: str = (
        function["Handler"] if "Handler" in function else function["ImageConfig"]["Command"][0]
    )
    return handler


def _references(value: Any) -> Iterator[str]:
    """Every logical id that a value refers to."""
    if isinstance(value, dict):
        if "Ref" in value:
            yield value["Ref"]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
