"""A function as every stack has it: with a role and a log of its own, and called by its alias alone."""

from typing import Final, TypedDict

from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.constructs.identity import FunctionIdentity
from onnxlift_runtime.settings import Settings

LIVE: Final = "live"


class Own(TypedDict):
    """What no two functions share, as arguments of the CDK's function."""

    role: iam.Role
    log_group: logs.LogGroup
    environment: dict[str, str]


class PublishedFunction(Construct):
    """A function that is published behind the alias ``live``; whoever makes one hands it to ``publish``."""

    function: lambda_.Function
    alias: lambda_.Alias

    def __init__(self, scope: Construct, id: str, *, retention_days: int) -> None:  # noqa: A002
        super().__init__(scope, id)
        self._identity = FunctionIdentity(self, "Identity", retention_days=retention_days)

    def allow(self, *statements: iam.PolicyStatement) -> None:
        """Let the function's role do more."""
        self._identity.allow(*statements)

    def own(self, settings: Settings) -> Own:
        """The function's role and log, and what it is told."""
        return Own(role=self._identity.role, log_group=self._identity.log_group, environment=settings.to_env())

    def publish(self, function: lambda_.Function) -> None:
        """Point the alias at the version of ``function`` that this deployment makes; it must be configured by then."""
        self.function = function
        self.alias = lambda_.Alias(self, "Live", alias_name=LIVE, version=function.current_version)
