"""One boto3 client per service and process, with time limits that suit a function."""

import functools
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

# Five seconds without an answer is a lost connection inside AWS's network; standard retries back off with jitter.
_CONFIG = Config(
    connect_timeout=2,
    read_timeout=25,  # longer than an SQS long poll
    retries={"mode": "standard", "max_attempts": 4},
    signature_version="s3v4",
)


@functools.cache
def _client(service: str) -> Any:
    return boto3.client(service, config=_CONFIG)


def dynamodb() -> "DynamoDBClient":
    """The DynamoDB client."""
    client: DynamoDBClient = _client("dynamodb")
    return client


def s3() -> "S3Client":
    """The S3 client."""
    client: S3Client = _client("s3")
    return client


def sqs() -> "SQSClient":
    """The SQS client."""
    client: SQSClient = _client("sqs")
    return client


def events() -> "EventBridgeClient":
    """The EventBridge client."""
    client: EventBridgeClient = _client("events")
    return client
