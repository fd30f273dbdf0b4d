"""What becomes of a service's resources when it goes, and how each is found in the bill."""

import json
from collections.abc import Iterator
from typing import Final

import pytest

from tests.infra.assembly import Assembly, Resource

# It stays where its stack goes or no longer has it; a deployment that made it and then failed takes
# it back.
STAYS: Final = "RetainExceptOnCreate"
# What holds something: does it stay where its stack goes, or where another replaces it?
STATEFUL: Final = {
    "AWS::DynamoDB::Table": STAYS,
    "AWS::S3::Bucket": STAYS,
    "AWS::SecretsManager::Secret": STAYS,
    "AWS::ApiGateway::Account": "Retain",  # not the service's alone
    "AWS::SQS::Queue": "Delete",
    "AWS::Logs::LogGroup": "Delete",
}
# The role that API Gateway writes logs with, which is the account's, too; and versions, which go
# with their function.
ALSO_RETAINED: Final = {"AWS::IAM::Role", "AWS::Lambda::Version"}


@pytest.fixture(params=["shop", "lab", "group", "accelerated"])
def every(request: pytest.FixtureRequest) -> Assembly:
    """Each kind of service in turn."""
    assembly: Assembly = request.getfixturevalue(request.param)
    return assembly


def resources(assembly: Assembly) -> Iterator[Resource]:
    for stack in assembly.stacks:
        yield from assembly.template(stack)["Resources"].values()


def test_what_holds_data_stays_and_the_rest_goes(every: Assembly) -> None:
    said = {
        (found["Type"], found["DeletionPolicy"], found["UpdateReplacePolicy"])
        for found in resources(every)
        if found["Type"] in STATEFUL
    }

    replaced = {STAYS: "Retain"}
    assert said == {
        (kind, policy, replaced.get(policy, policy)) for kind, policy in STATEFUL.items()
    }


def test_nothing_else_is_left_behind(every: Assembly) -> None:
    kept = {
        found["Type"]
        for found in resources(every)
        if found.get("DeletionPolicy", "Delete") != "Delete"
    }

    assert kept - ALSO_RETAINED == {kind for kind, policy in STATEFUL.items() if policy != "Delete"}


def test_versions_stay_beside_the_next_ones_unless_they_hold_a_network_or_machines(
    every: Assembly,
) -> None:
    said = set()
    for stack in every.stacks:
        functions = every.resources(stack, "AWS::Lambda::Function")
        for version in every.resources(stack, "AWS::Lambda::Version").values():
            told = functions[version["Properties"]["FunctionName"]["Ref"]]["Properties"]
            holds = bool({"VpcConfig", "CapacityProviderConfig"} & set(told))
            said.add((holds, version.get("DeletionPolicy", "Delete")))

    assert said in ({(False, STAYS)}, {(True, "Delete")})


def test_every_stack_and_every_resource_that_takes_tags_tells_its_service(every: Assembly) -> None:
    service = every.stacks[0].partition("-")[0]
    stacks = json.loads((every.folder / "manifest.json").read_text())["artifacts"]

    tags = [
        found["Properties"]["Tags"]
        for found in resources(every)
        if "Tags" in found.get("Properties", {})
    ]

    assert {json.dumps(stacks[stack]["properties"]["tags"]) for stack in every.deployed} == {
        json.dumps({"onnxlift:service": service})
    }
    assert len(tags) > 20
    assert [found for found in tags if told(found) != service] == []


@pytest.mark.parametrize(
    "kind",
    [
        "AWS::ApiGateway::RestApi",
        "AWS::DynamoDB::Table",
        "AWS::ECS::Service",
        "AWS::IAM::Role",
        "AWS::Lambda::Function",
        "AWS::Logs::LogGroup",
        "AWS::S3::Bucket",
        "AWS::SQS::Queue",
        "AWS::SecretsManager::Secret",
        "AWS::WAFv2::WebACL",
    ],
)
def test_what_costs_is_tagged(lab: Assembly, kind: str) -> None:
    found = [resource for resource in resources(lab) if resource["Type"] == kind]

    assert found
    assert all("Tags" in resource["Properties"] for resource in found)


def told(tags: object) -> str:
    """The service that tags name; a few types have them as a table."""
    pairs = tags if isinstance(tags, dict) else {tag["Key"]: tag["Value"] for tag in tags}  # type: ignore[attr-defined]
    return str(pairs["onnxlift:service"])
