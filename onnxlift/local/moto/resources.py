"""The table, bucket, queues, bus and rule of a service, made in a moto server as the CDK app makes
them in AWS.
"""

import json
import secrets
from collections.abc import Iterable
from typing import Any

import boto3
from botocore.config import Config as Connection

from onnxlift.artifact import read_tiers
from onnxlift.config import Config
from onnxlift.local.account import ACCOUNT, REGION, queue_arn
from onnxlift.topology import (
    DEAD_RETENTION_S,
    DEAD_VISIBILITY_S,
    RETENTION_S,
    Source,
    created_objects,
    sources,
)
from onnxlift_runtime import names


def client(service: str, endpoint_url: str) -> Any:
    """A boto3 client of a moto server."""
    return boto3.client(
        service,
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - moto asks for none
        config=Connection(
            retries={"mode": "standard"}, read_timeout=25, s3={"addressing_style": "path"}
        ),
    )


def create(config: Config, endpoint_url: str) -> None:
    """Make everything that a service needs for its jobs."""
    service = config.service
    sqs = client("sqs", endpoint_url)
    _create_table(client("dynamodb", endpoint_url), names.table_name(service))
    _create_bucket(client("s3", endpoint_url), names.bucket_name(service, ACCOUNT, REGION))
    _create_queues(sqs, sources(config, config.models, read_tiers(config)))
    _create_rule(client("events", endpoint_url), service)
    secret = {
        "Name": names.webhook_secret_name(service),
        "SecretString": secrets.token_urlsafe(32),
    }
    client("secretsmanager", endpoint_url).create_secret(**secret)


def _create_table(dynamodb: Any, name: str) -> None:
    kinds = {
        names.TABLE_KEY: "S",
        names.TABLE_SORT: "N",
        **dict.fromkeys(names.TABLE_INDEXES.values(), "S"),
    }
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=_keys(names.TABLE_KEY),
        AttributeDefinitions=[
            {"AttributeName": key, "AttributeType": kind} for key, kind in kinds.items()
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": index,
                "KeySchema": _keys(key, names.TABLE_SORT),
                "Projection": {
                    "ProjectionType": "INCLUDE",
                    "NonKeyAttributes": list(names.TABLE_INCLUDES[index]),
                },
            }
            for index, key in names.TABLE_INDEXES.items()
        ],
    )


def _keys(partition: str, *sort: str) -> list[dict[str, str]]:
    sorts = [{"AttributeName": name, "KeyType": "RANGE"} for name in sort]
    return [{"AttributeName": partition, "KeyType": "HASH"}, *sorts]


def _create_bucket(s3: Any, name: str) -> None:
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(
        Bucket=name,
        NotificationConfiguration={"EventBridgeConfiguration": {}},
        SkipDestinationValidation=True,
    )


def _create_queues(sqs: Any, found: Iterable[Source]) -> None:
    for source in found:
        dead = names.dead_letter_name(source.queue)
        kept = {
            "VisibilityTimeout": str(DEAD_VISIBILITY_S),
            "MessageRetentionPeriod": str(DEAD_RETENTION_S),
        }
        sqs.create_queue(QueueName=dead, Attributes=kept)
        redrive = {"deadLetterTargetArn": queue_arn(dead), "maxReceiveCount": source.max_receives}
        attributes = {
            "VisibilityTimeout": str(source.visibility_s),
            "MessageRetentionPeriod": str(RETENTION_S),
            "RedrivePolicy": json.dumps(redrive),
        }
        sqs.create_queue(QueueName=source.queue, Attributes=attributes)


def _create_rule(events: Any, service: str) -> None:
    """What is dropped below ``in/`` goes to the ingest queue; finished jobs are told on a bus of
    their own.
    """
    events.create_event_bus(Name=names.bus_name(service))
    name = names.ingest_queue_name(service)
    pattern = created_objects(names.bucket_name(service, ACCOUNT, REGION))
    events.put_rule(Name=name, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=name, Targets=[{"Id": "ingest", "Arn": queue_arn(name)}])
