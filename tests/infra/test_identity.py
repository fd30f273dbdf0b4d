"""What a function may do fits into IAM's policies, however many models there are."""

import json

import aws_cdk as cdk
import pytest
from aws_cdk import aws_iam as iam
from aws_cdk.assertions import Template

from infra.constructs.identity import FunctionIdentity

MAX_INLINE = 10_240  # characters of all policies that are a role's own
MAX_MANAGED = 6_144
MAX_ATTACHED = 10


def longest(number: int) -> str:
    """An ARN as long as that of an ECS service gets."""
    service = f"{'s' * 15}-gpu/{'s' * 15}-{'m' * 38}{number:02}-gpu"
    return f"arn:aws:ecs:ap-northeast-1:123456789012:service/{service}"


@pytest.mark.parametrize("models", [1, 18, 19, 60])
def test_every_policy_fits_and_together_they_allow_everything(models: int) -> None:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "identities")
    asked = {longest(number) for number in range(models)}

    identity = FunctionIdentity(stack, "Identity", retention_days=30)
    for action in ("sqs:SendMessage", "ecs:UpdateService"):
        identity.allow(iam.PolicyStatement(actions=[action], resources=sorted(asked)))

    template = Template.from_stack(stack).to_json()["Resources"].values()
    inline, managed = (
        [
            found["Properties"]["PolicyDocument"]
            for found in template
            if found["Type"] == f"AWS::IAM::{kind}"
        ]
        for kind in ("Policy", "ManagedPolicy")
    )
    assert max(len(json.dumps(policy, separators=(",", ":"))) for policy in inline) <= MAX_INLINE
    assert len(managed) <= MAX_ATTACHED
    assert all(len(json.dumps(policy, separators=(",", ":"))) <= MAX_MANAGED for policy in managed)
    allowed = [statement for policy in (*inline, *managed) for statement in policy["Statement"]]
    assert {
        arn for each in allowed if each["Action"] == "ecs:UpdateService" for arn in listed(each)
    } == asked


def listed(statement: dict[str, object]) -> list[str]:
    """The resources of a statement, which are a list unless there is only one."""
    found = statement["Resource"]
    return [found] if isinstance(found, str) else list(found)  # type: ignore[call-overload]
