"""One boto3 client per service and process, with time limits that suit a function.

A service that does not answer, or answers that it cannot for the moment, is told as
``StoreUnavailable``; what the caller itself did wrong stays botocore's ``ClientError``.
"""

import functools
import os
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from onnxlift_runtime.errors import StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

# Five seconds without an answer is a lost connection inside AWS's network; standard retries back
# off with jitter.
_CONFIG = Config(
    connect_timeout=2,
    read_timeout=25,  # longer than an SQS long poll
    retries={"mode": "standard", "max_attempts": 4},
    signature_version="s3v4",
    # the GPU worker's threads share a client; no connection is opened before it is needed
    max_pool_connections=64,
)
# What is no more than a favour: a request must not wait for it.
_BRIEF: Final = Config(
    connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 1}
)
_BUSY: Final = {
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TransactionInProgressException",
}


@functools.cache
def _client(service: str, limits: Config = _CONFIG) -> Any:
    # Signed URLs must name the bucket's region: its global address answers them with a redirect
    # that breaks the signature. An endpoint of one's own, which AWS_ENDPOINT_URL names, has no such
    # addresses.
    own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config = limits.merge(Config(s3={"addressing_style": "path" if own else "virtual"}))
    return announce_failures(boto3.client(service, config=config))


def announce_failures(client: Any) -> Any:
    """Let a client raise ``StoreUnavailable`` where its service, after all retries, could not
    answer.
    """
    client.meta.events.register("after-call", _check_answer)
    client.meta.events.register("after-call-error", _check_error)
    return client


def _check_answer(http_response: Any, parsed: Any, model: Any, **_context: Any) -> None:
    code = parsed.get("Error", {}).get("Code", "") if isinstance(parsed, dict) else ""
    if http_response.status_code >= 500 or code in _BUSY:
        raise StoreUnavailable(
            f"{_named(model)} answered {code or http_response.status_code}; try again"
        )


def _check_error(exception: Exception, **context: Any) -> None:
    if isinstance(exception, BotoCoreError):
        raise StoreUnavailable(
            f"no answer from {context['event_name'].split('.')[1]}; try again"
        ) from exception


def _named(model: Any) -> str:
    return f"{model.service_model.service_id.hyphenize()} ({model.name})"


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


def sns() -> "SNSClient":
    """The SNS client."""
    client: SNSClient = _client("sns")
    return client


def ecs() -> Any:
    """The ECS client, which gives up after three seconds."""
    return _client("ecs", _BRIEF)


def secrets() -> Any:
    """The Secrets Manager client."""
    return _client("secretsmanager")
