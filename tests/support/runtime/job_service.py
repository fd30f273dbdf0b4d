"""moto's S3, SQS and DynamoDB inside the test process, with the table, bucket and queues that the
CDK app makes.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import boto3
import pytest

from onnxlift_runtime.aws.objects import ObjectStore
from onnxlift_runtime.aws.queues import Queues
from onnxlift_runtime.aws.table import JobTable
from onnxlift_runtime.jobservice.service import JobService
from onnxlift_runtime.names import TABLE_INCLUDES, TABLE_INDEXES, TABLE_KEY, TABLE_SORT, queue_name
from tests.support.runtime.cloud import one_at_a_time

SERVICE, MODEL, CALLER = "test", "tiny", "me"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobService]:
    """A job service whose clock moves by one millisecond at every look."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with one_at_a_time():
        dynamodb, s3, sqs = (boto3.client(name) for name in ("dynamodb", "s3", "sqs"))
        create_table(dynamodb)
        s3.create_bucket(Bucket="data")
        s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
        sqs.create_queue(QueueName=queue_name(SERVICE, MODEL, "lambda"))
        clock = itertools.count(1_000_000)
        plain = JobService(
            JobTable(dynamodb, "jobs"), ObjectStore(s3, "data"), Queues(sqs, SERVICE)
        )
        yield replace(plain, clock=lambda: next(clock))


def create_table(dynamodb: object) -> None:
    kinds = {TABLE_KEY: "S", TABLE_SORT: "N", **dict.fromkeys(TABLE_INDEXES.values(), "S")}
    dynamodb.create_table(  # type: ignore[attr-defined]
        TableName="jobs",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": TABLE_KEY, "KeyType": "HASH"}],
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": index,
                "KeySchema": [
                    {"AttributeName": key, "KeyType": "HASH"},
                    {"AttributeName": TABLE_SORT, "KeyType": "RANGE"},
                ],
                "Projection": {
                    "ProjectionType": "INCLUDE",
                    "NonKeyAttributes": list(TABLE_INCLUDES[index]),
                },
            }
            for index, key in TABLE_INDEXES.items()
        ],
    )
