"""A function as every stack has it: with a role and a log of its own, and called by its alias
alone.
"""

from typing import Any, Final, TypedDict

from aws_cdk import RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.constructs.identity import FunctionIdentity
from onnxlift.hosting import Vpc
from onnxlift_runtime.settings import Settings

LIVE: Final = "live"
# A version whose deployment failed would be in the way of the next try: Lambda publishes the same
# thing only once.
KEPT: Final = lambda_.VersionOptions(removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)
# What Lambda does in a function's name to put it into a VPC: AWSLambdaVPCAccessExecutionRole,
# without the logs.
INTERFACES: Final = (
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
)


class Own(TypedDict):
    """What no two functions share, as arguments of the CDK's function."""

    role: iam.Role
    log_group: logs.LogGroup
    environment: dict[str, str]


class PublishedFunction(Construct):
    """A function that is published behind the alias ``live``; whoever makes one hands it to
    ``publish``.

    ``vpc`` is the network that it is put into, Lambda's own where there is none.
    """

    function: lambda_.Function
    alias: lambda_.Alias

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        retention_days: int,
        vpc: Vpc | None = None,
    ) -> None:
        super().__init__(scope, id)
        self._vpc = vpc
        self._identity = FunctionIdentity(self, "Identity", retention_days=retention_days)

    def allow(self, *statements: iam.PolicyStatement) -> None:
        """Let the function's role do more."""
        self._identity.allow(*statements)

    def own(self, settings: Settings) -> Own:
        """The function's role and log, and what it is told."""
        return Own(
            role=self._identity.role,
            log_group=self._identity.log_group,
            environment=settings.to_env(),
        )

    @property
    def versions(self) -> lambda_.VersionOptions | None:
        """The versions before stay for as long as the function does, so that the alias can be
        pointed back at one.

        Not in a VPC: while there is such a version, Lambda gives no interface back, and its subnet
        cannot be deleted.
        """
        return KEPT if self._vpc is None else None

    def publish(self, function: lambda_.Function) -> None:
        """Point the alias at the version of ``function`` that this deployment makes; it must be
        configured by then.
        """
        if self._vpc is not None:
            self._join(function, self._vpc)
        self.function = function
        self.alias = lambda_.Alias(self, "Live", alias_name=LIVE, version=function.current_version)

    def _join(self, function: lambda_.Function, vpc: Vpc) -> None:
        """Put a function into subnets that are there: by their ids, because the CDK would look a
        VPC up.

        The policy is apart from the role's other one, so that CloudFormation takes it away only
        after the function has left the subnets: Lambda deletes its network interfaces with it.
        """
        policy = iam.Policy(
            self, "Interfaces", roles=[self._identity.role], statements=_interface_statements()
        )
        function.node.add_dependency(policy)
        plain: Any = function.node.default_child
        plain.vpc_config = lambda_.CfnFunction.VpcConfigProperty(
            subnet_ids=list(vpc.subnets), security_group_ids=list(vpc.security_groups)
        )


def _interface_statements() -> list[iam.PolicyStatement]:
    """Let Lambda handle network interfaces, and not the function's code, whose calls alone tell
    their function.
    """
    actions, everything = list(INTERFACES), ["*"]
    inside = {"Null": {"lambda:SourceFunctionArn": "false"}}
    return [
        iam.PolicyStatement(actions=actions, resources=everything),
        iam.PolicyStatement(
            effect=iam.Effect.DENY, actions=actions, resources=everything, conditions=inside
        ),
    ]
