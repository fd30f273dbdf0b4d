"""A firewall in front of the API: addresses of bad repute, and such as ask for more than their
share.
"""

from typing import Final

from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

from onnxlift.hosting import Throttle

WINDOW_S: Final = 300
SHARE: Final = 0.5  # of what all callers together may ask for, for one address
LEAST: Final = 10  # the smallest limit that WAF takes
REPUTATION: Final = "AWSManagedRulesAmazonIpReputationList"


def most_requests(throttle: Throttle) -> int:
    """How many requests one address may send in ``WINDOW_S`` seconds."""
    return max(LEAST, int(throttle.rate * WINDOW_S * SHARE))


class Firewall(Construct):
    """A web ACL on a stage. It reads no bodies, which are tensors here: what they hold, the
    functions check.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        stage: apigateway.Stage,
        throttle: Throttle,
    ) -> None:
        super().__init__(scope, id)
        acl = wafv2.CfnWebACL(
            self,
            "Acl",
            scope="REGIONAL",
            default_action=wafv2.CfnWebACL.DefaultActionProperty(allow={}),
            visibility_config=_counted("all"),
            rules=[_repute(), _rate(throttle)],
        )
        wafv2.CfnWebACLAssociation(
            self, "Stage", resource_arn=stage.stage_arn, web_acl_arn=acl.attr_arn
        )


def _repute() -> wafv2.CfnWebACL.RuleProperty:
    group = wafv2.CfnWebACL.ManagedRuleGroupStatementProperty(vendor_name="AWS", name=REPUTATION)
    return wafv2.CfnWebACL.RuleProperty(
        name="repute",
        priority=0,
        statement=wafv2.CfnWebACL.StatementProperty(managed_rule_group_statement=group),
        override_action=wafv2.CfnWebACL.OverrideActionProperty(none={}),
        visibility_config=_counted("repute"),
    )


def _rate(throttle: Throttle) -> wafv2.CfnWebACL.RuleProperty:
    limit = wafv2.CfnWebACL.RateBasedStatementProperty(
        aggregate_key_type="IP", limit=most_requests(throttle), evaluation_window_sec=WINDOW_S
    )
    return wafv2.CfnWebACL.RuleProperty(
        name="rate",
        priority=1,
        statement=wafv2.CfnWebACL.StatementProperty(rate_based_statement=limit),
        action=wafv2.CfnWebACL.RuleActionProperty(block={}),
        visibility_config=_counted("rate"),
    )


def _counted(name: str) -> wafv2.CfnWebACL.VisibilityConfigProperty:
    return wafv2.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=False
    )
