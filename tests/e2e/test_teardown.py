"""``cdk destroy`` takes everything away but what holds data, and the account's role for API
Gateway's logs.
"""

import json

import httpx

from tests.e2e.cloud import Cloud
from tests.e2e.emulator import ACCOUNT, REGION


def test_destroy_leaves_the_table_the_bucket_the_secret_and_the_role_for_logs(cloud: Cloud) -> None:
    cloud.destroy()

    tables = cloud.client("dynamodb").list_tables()["TableNames"]
    buckets = [bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]]
    secrets = [
        secret["Name"] for secret in cloud.client("secretsmanager").list_secrets()["SecretList"]
    ]
    roles = [
        role
        for role in cloud.client("iam").list_roles()["Roles"]
        if not role["RoleName"].startswith("cdk-")
    ]
    assert cloud.stacks() == ["CDKToolkit"]
    assert tables == ["e2e-jobs"]
    assert f"e2e-{ACCOUNT}-{REGION}" in buckets
    assert secrets == ["e2e-webhooks"]
    assert cloud.client("lambda").list_functions()["Functions"] == []
    assert cloud.client("sqs").list_queues(QueueNamePrefix="e2e-").get("QueueUrls", []) == []
    assert cloud.client("apigateway").get_rest_apis()["items"] == []
    assert [
        "apigateway.amazonaws.com" in str(role["AssumeRolePolicyDocument"]) for role in roles
    ] == [True]


def test_what_is_left_stops_a_deployment_under_the_same_name_before_it_makes_anything(
    cloud: Cloud,
) -> None:
    told = cloud.refused()

    described = cloud.client("cloudformation").describe_events(StackName="e2e-data")[
        "OperationEvents"
    ]
    reasons = " ".join(str(event.get("ValidationStatusReason")) for event in described)
    assert "Validation failed" in told
    assert "already exists" in reasons
    assert cloud.client("events").list_event_buses(NamePrefix="e2e")["EventBuses"] == []
    assert cloud.client("dynamodb").list_tables()["TableNames"] == ["e2e-jobs"]


def test_table_and_bucket_are_taken_over_by_a_new_stack(cloud: Cloud) -> None:
    cloud.client("secretsmanager").delete_secret(
        SecretId="e2e-webhooks", ForceDeleteWithoutRecovery=True
    )
    cloud.client("cloudformation").delete_stack(StackName="e2e-data")
    template = json.loads((cloud.folder / "cdk.out" / "e2e-data.template.json").read_text())
    names = {resource["Type"]: name for name, resource in template["Resources"].items()}

    cloud.take_over(
        "e2e-data",
        {
            names["AWS::DynamoDB::Table"]: {"TableName": "e2e-jobs"},
            names["AWS::S3::Bucket"]: {"BucketName": f"e2e-{ACCOUNT}-{REGION}"},
        },
    )
    cloud.deploy()

    api = cloud.api("e2e")
    assert (
        httpx.get(f"{api.url}/v2/jobs?limit=1", headers=api.headers, timeout=60).status_code == 200
    )
    assert cloud.stacks() == ["CDKToolkit", "e2e", "e2e-data"]
