"""What holds a service's data."""

import re
from pathlib import Path
from typing import Any

import pytest

from onnxlift_runtime import names
from tests.infra.assembly import Assembly, flat, synthesise
from tests.infra.conftest import write_bare

DATA = "shop-data"
BUCKET = "shop-<AWS::AccountId>-<AWS::Region>"


def table(shop: Assembly) -> dict[str, Any]:
    return shop.only(DATA, "AWS::DynamoDB::Table")


def bucket(shop: Assembly) -> dict[str, Any]:
    return shop.only(DATA, "AWS::S3::Bucket")


def test_the_table_is_keyed_and_listed_as_the_runtime_expects(shop: Assembly) -> None:
    indexes = {
        index["IndexName"]: index["KeySchema"] for index in table(shop)["GlobalSecondaryIndexes"]
    }

    assert table(shop)["TableName"] == "shop-jobs"
    assert table(shop)["KeySchema"] == [{"AttributeName": names.TABLE_KEY, "KeyType": "HASH"}]
    assert indexes == {
        index: [
            {"AttributeName": key, "KeyType": "HASH"},
            {"AttributeName": names.TABLE_SORT, "KeyType": "RANGE"},
        ]
        for index, key in names.TABLE_INDEXES.items()
    }


def test_the_table_forgets_old_jobs_and_can_be_restored_to_any_second(shop: Assembly) -> None:
    assert table(shop)["TimeToLiveSpecification"] == {
        "AttributeName": names.TABLE_TTL,
        "Enabled": True,
    }
    assert table(shop)["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table(shop)["BillingMode"] == "PAY_PER_REQUEST"


def test_table_bucket_and_secret_stay_when_the_stack_goes(shop: Assembly) -> None:
    for kind in ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SecretsManager::Secret"):
        (resource,) = shop.resources(DATA, kind).values()
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == (
            "RetainExceptOnCreate",
            "Retain",
        )


def test_nobody_else_reads_the_bucket(shop: Assembly) -> None:
    found = bucket(shop)

    assert flat(found["BucketName"]) == BUCKET
    assert set(found["PublicAccessBlockConfiguration"].values()) == {True}
    assert found["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert found["BucketEncryption"]
    assert found["VersioningConfiguration"] == {"Status": "Enabled"}


def test_the_bucket_is_reached_by_current_tls_alone(shop: Assembly) -> None:
    statements = shop.only(DATA, "AWS::S3::BucketPolicy")["PolicyDocument"]["Statement"]

    conditions = [
        statement["Condition"] for statement in statements if statement["Effect"] == "Deny"
    ]

    assert {"Bool": {"aws:SecureTransport": "false"}} in conditions
    assert {"NumericLessThan": {"s3:TlsVersion": 1.2}} in conditions
    assert not [statement for statement in statements if statement["Effect"] == "Allow"]


def test_what_only_the_service_reads_is_deleted_in_time_and_nothing_else(shop: Assembly) -> None:
    rules = bucket(shop)["LifecycleConfiguration"]["Rules"]

    expiring = {
        rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "ExpirationInDays" in rule
    }

    assert expiring == {"uploads/": 2, "payloads/": 9, "results/": 9}
    assert any(
        rule.get("AbortIncompleteMultipartUpload") == {"DaysAfterInitiation": 1} for rule in rules
    )


def test_the_bucket_tells_the_event_bus_without_a_function_in_between(shop: Assembly) -> None:
    assert bucket(shop)["NotificationConfiguration"] == {
        "EventBridgeConfiguration": {"EventBridgeEnabled": True}
    }
    assert not shop.resources(DATA, "AWS::Lambda::Function")


def test_ended_jobs_have_a_bus_of_their_own(shop: Assembly) -> None:
    assert shop.only(DATA, "AWS::Events::EventBus")["Name"] == "shop"


def test_there_is_a_topic_only_where_the_service_wants_one(shop: Assembly, bare: Assembly) -> None:
    assert shop.only(DATA, "AWS::SNS::Topic")["TopicName"] == "shop-jobs"
    assert not bare.resources("bare-data", "AWS::SNS::Topic")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("b" * 36, "has 36 characters; the bucket's name"),
        (
            "shop-data",
            "would be deployed over the data of a service 'shop', whose stack has that name",
        ),
    ],
)
def test_a_name_that_something_else_has_no_room_for_stops_the_app_with_one_line(
    tmp_path: Path, name: str, why: str
) -> None:
    config = write_bare(tmp_path)
    config.write_text(re.sub('"bare"', f'"{name}"', config.read_text()))

    done = synthesise(config, tmp_path / "out")

    assert done.returncode == 2
    assert done.stderr.startswith(f"error: service '{name}' {why}")
    assert done.stderr.count("\n") == 1
