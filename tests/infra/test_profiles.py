"""What a service in the profile ``standard`` has beyond one in ``low-cost``, and a name of its
own.
"""

import pytest

from infra.constructs.alarms import OLDEST_S
from infra.constructs.api.firewall import LEAST, most_requests
from onnxlift.config import load_config
from onnxlift.cost import estimate
from onnxlift.hosting import Throttle
from tests.infra.assembly import Assembly, Resource, flat

ALARM = "AWS::CloudWatch::Alarm"
TOPIC = "arn:<AWS::Partition>:sns:<AWS::Region>:<AWS::AccountId>:lab-alarms"
COSTLY = ("AWS::WAFv2::WebACL", "AWS::WAFv2::WebACLAssociation", ALARM)


def alarms(assembly: Assembly, stack: str) -> list[Resource]:
    """The alarms that somebody is told of; those of GPU workers start and end them."""
    found = [resource["Properties"] for resource in assembly.resources(stack, ALARM).values()]
    return [alarm for alarm in found if "OKActions" in alarm]


def watched(alarm: Resource) -> tuple[str, str]:
    """What an alarm looks at, and of what."""
    return alarm["MetricName"], " ".join(flat(each["Value"]) for each in alarm["Dimensions"])


def test_low_cost_has_no_firewall_no_alarms_and_no_protection(shop: Assembly) -> None:
    found = [kind for stack in shop.stacks for kind in COSTLY if shop.resources(stack, kind)]

    assert found == []
    assert "DeletionProtectionEnabled" not in shop.only("shop-data", "AWS::DynamoDB::Table")


def test_the_table_cannot_be_deleted(lab: Assembly) -> None:
    assert lab.only("lab-data", "AWS::DynamoDB::Table")["DeletionProtectionEnabled"] is True


def test_every_function_every_queue_and_the_api_is_watched(
    lab: Assembly, accelerated: Assembly
) -> None:
    for assembly in (lab, accelerated):
        for stack in assembly.stacks:
            functions = {f"<{name}>" for name in assembly.resources(stack, "AWS::Lambda::Function")}
            queues = {
                found["Properties"]["QueueName"]
                for found in assembly.resources(stack, "AWS::SQS::Queue").values()
            }
            dead = {name for name in queues if name.endswith("-dead")}

            expected = {(metric, name) for metric in ("Errors", "Throttles") for name in functions}
            expected |= {("ApproximateAgeOfOldestMessage", name) for name in queues - dead}
            expected |= {("ApproximateNumberOfMessagesVisible", name) for name in dead}
            expected |= {("5XXError", "lab live")} if stack == "lab-api" else set()
            assert set(map(watched, alarms(assembly, stack))) == expected


def test_alarms_tell_the_topic_when_they_go_on_and_when_they_are_over(lab: Assembly) -> None:
    found = [alarm for stack in lab.stacks for alarm in alarms(lab, stack)]

    assert {
        flat(action)
        for alarm in found
        for kind in ("AlarmActions", "OKActions")
        for action in alarm[kind]
    } == {TOPIC}
    assert {alarm["TreatMissingData"] for alarm in found} == {"notBreaching"}
    assert all(alarm["AlarmDescription"] for alarm in found)


def test_a_message_may_wait_an_hour_or_for_a_second_try(lab: Assembly) -> None:
    patient = {
        of: alarm["Threshold"]
        for stack in ("lab-jobs", "lab-gpu-big")
        for alarm in alarms(lab, stack)
        for metric, of in [watched(alarm)]
        if metric == "ApproximateAgeOfOldestMessage"
    }

    assert patient == {
        "lab-jobs": OLDEST_S,
        "lab-ingest": OLDEST_S,
        "lab-webhooks": OLDEST_S,
        "lab-big-gpu-jobs": OLDEST_S,
    }


def test_only_alarms_of_this_account_may_tell_the_topic_and_by_tls_alone(lab: Assembly) -> None:
    statements = lab.only("lab-data", "AWS::SNS::TopicPolicy")["PolicyDocument"]["Statement"]
    denied, allowed = sorted(
        statements, key=lambda statement: str(statement["Effect"]), reverse=True
    )

    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert allowed["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert allowed["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    assert flat(allowed["Condition"]["ArnLike"]["aws:SourceArn"]).endswith(":alarm:*")


def test_the_address_of_the_configuration_is_told_of_alarms(lab: Assembly) -> None:
    subscription = lab.only("lab-data", "AWS::SNS::Subscription")

    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "ops@example.com")
    assert lab.only("lab-data", "AWS::SNS::Topic")["TopicName"] == "lab-alarms"


def test_a_firewall_is_before_the_stage_and_reads_no_bodies(lab: Assembly) -> None:
    repute, rate = lab.only("lab-api", "AWS::WAFv2::WebACL")["Rules"]
    stage = lab.name("lab-api", "AWS::ApiGateway::Stage")

    assert (
        repute["Statement"]["ManagedRuleGroupStatement"]["Name"]
        == "AWSManagedRulesAmazonIpReputationList"
    )
    assert rate["Statement"]["RateBasedStatement"] == {
        "AggregateKeyType": "IP",
        "EvaluationWindowSec": 300,
        "Limit": 15_000,
    }
    assert rate["Action"] == {"Block": {}}
    association = lab.only("lab-api", "AWS::WAFv2::WebACLAssociation")
    assert flat(association["ResourceArn"]).endswith(f"/stages/<{stage}>")


@pytest.mark.parametrize(("rate", "most"), [(100, 15_000), (1, 150), (10_000, 1_500_000)])
def test_one_address_may_ask_for_half_of_what_all_may(rate: int, most: int) -> None:
    assert most_requests(Throttle(rate=rate)) == most >= LEAST


def test_the_domain_s_root_is_the_stage_and_its_target_is_told(
    lab: Assembly, shop: Assembly
) -> None:
    domain = lab.only("lab-api", "AWS::ApiGateway::DomainName")
    mapping = lab.only("lab-api", "AWS::ApiGateway::BasePathMapping")

    assert (domain["DomainName"], domain["SecurityPolicy"]) == ("api.example.com", "TLS_1_2")
    assert domain["EndpointConfiguration"] == {"Types": ["REGIONAL"]}
    assert domain["RegionalCertificateArn"].endswith(":certificate/1a2b")
    assert "BasePath" not in mapping
    assert mapping["Stage"] == {"Ref": lab.name("lab-api", "AWS::ApiGateway::Stage")}
    assert not shop.resources("shop-api", "AWS::ApiGateway::DomainName")


def test_a_plan_counts_the_alarms_and_rules_that_are_built(
    lab: Assembly, accelerated: Assembly
) -> None:
    managed, functions = (
        load_config(assembly.folder.parent / "onnxlift.toml") for assembly in (lab, accelerated)
    )

    def built(assembly: Assembly, *stacks: str) -> int:
        return sum(len(alarms(assembly, stack)) for stack in stacks)

    assert estimate.watching_alarms(managed, ("lambda",)) == built(lab, "lab-model-small")
    assert estimate.watching_alarms(managed, ("lambda", "gpu")) == built(
        lab, "lab-model-both", "lab-gpu-both"
    )
    assert estimate.watching_alarms(functions, ("gpu",)) == built(accelerated, "lab-gpu-big")
    assert built(lab, "lab-jobs", "lab-api", "lab-data", "lab-gpu") == estimate.SERVICE_ALARMS
    assert len(lab.only("lab-api", "AWS::WAFv2::WebACL")["Rules"]) == estimate.FIREWALL_RULES
