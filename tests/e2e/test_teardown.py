"""``cdk destroy`` takes everything away but what holds data, and the account's role for API Gateway's logs."""

from tests.e2e.cloud import Cloud
from tests.e2e.emulator import ACCOUNT, REGION


def test_destroy_leaves_the_table_the_bucket_the_secret_and_the_role_for_logs(cloud: Cloud) -> None:
    cloud.destroy()

    tables = cloud.client("dynamodb").list_tables()["TableNames"]
    buckets = [bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]]
    secrets = [secret["Name"] for secret in cloud.client("secretsmanager").list_secrets()["SecretList"]]
    roles = [role for role in cloud.client("iam").list_roles()["Roles"] if not role["RoleName"].startswith("cdk-")]
    assert cloud.stacks() == ["CDKToolkit"]
    assert tables == ["e2e-jobs"]
    assert f"e2e-{ACCOUNT}-{REGION}" in buckets
    assert secrets == ["e2e-webhooks"]
    assert cloud.client("lambda").list_functions()["Functions"] == []
    assert cloud.client("sqs").list_queues(QueueNamePrefix="e2e-").get("QueueUrls", []) == []
    assert cloud.client("apigateway").get_rest_apis()["items"] == []
    assert ["apigateway.amazonaws.com" in str(role["AssumeRolePolicyDocument"]) for role in roles] == [True]
