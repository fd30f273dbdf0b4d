"""``cdk destroy`` takes everything away but what holds data."""

from tests.e2e.cloud import Cloud
from tests.e2e.emulator import ACCOUNT, REGION


def test_destroy_leaves_the_table_the_bucket_and_the_secret_alone(cloud: Cloud) -> None:
    cloud.destroy()

    tables = cloud.client("dynamodb").list_tables()["TableNames"]
    buckets = [bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]]
    secrets = [secret["Name"] for secret in cloud.client("secretsmanager").list_secrets()["SecretList"]]
    assert cloud.stacks() == ["CDKToolkit"]
    assert tables == ["e2e-jobs"]
    assert f"e2e-{ACCOUNT}-{REGION}" in buckets
    assert secrets == ["e2e-webhooks"]
    assert cloud.client("lambda").list_functions()["Functions"] == []
    assert cloud.client("sqs").list_queues(QueueNamePrefix="e2e-").get("QueueUrls", []) == []
    assert cloud.client("apigateway").get_rest_apis()["items"] == []
