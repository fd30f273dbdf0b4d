"""What a function may do: write its own log, and what its stack allows it."""

from typing import Final

from aws_cdk import RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

RETENTION: Final = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    5: logs.RetentionDays.FIVE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    60: logs.RetentionDays.TWO_MONTHS,
    90: logs.RetentionDays.THREE_MONTHS,
    120: logs.RetentionDays.FOUR_MONTHS,
    150: logs.RetentionDays.FIVE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
}

# Of one statement: twice as many names of queues or ECS services fit into the 6,144 characters of a
# managed policy.
MOST_RESOURCES: Final = 18


class FunctionIdentity(Construct):
    """A role of its own for one function, and the log group that it writes to.

    The role cannot create log groups, so a late line never brings a deleted one back.
    """

    def __init__(self, scope: Construct, id: str, *, retention_days: int) -> None:  # noqa: A002
        super().__init__(scope, id)
        self.log_group = logs.LogGroup(
            self, "Logs", retention=RETENTION[retention_days], removal_policy=RemovalPolicy.DESTROY
        )
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.role.add_to_policy(
            iam.PolicyStatement(
                actions=["logs:CreateLogStream", "logs:PutLogEvents"],
                resources=[self.log_group.log_group_arn],
            )
        )

    def allow(self, *statements: iam.PolicyStatement) -> None:
        """Let the role do more."""
        for statement in statements:
            for part in _parts(statement):
                self.role.add_to_policy(part)


def _parts(statement: iam.PolicyStatement) -> list[iam.PolicyStatement]:
    """The same as statements that each fit into a policy, over several of which the CDK parts what
    a role may do.
    """
    resources = statement.resources
    if len(resources) <= MOST_RESOURCES:
        return [statement]
    starts = range(0, len(resources), MOST_RESOURCES)
    return [statement.copy(resources=resources[start : start + MOST_RESOURCES]) for start in starts]
