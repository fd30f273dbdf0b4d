"""A network of one's own for the functions: which are put into it, what that lets them do, and what
they reach.
"""

import re
from collections.abc import Iterator
from typing import Final

import pytest

from onnxlift.cost.estimate import HOURS
from onnxlift.cost.prices import read_prices
from tests.infra.assembly import ROOT, Assembly, Resource

FUNCTION: Final = "AWS::Lambda::Function"
JOINED: Final = {
    "SubnetIds": ["subnet-0a1b2c3d", "subnet-0123456789abcdef0"],
    "SecurityGroupIds": ["sg-0f0e0d0c0b0a09080"],
}
INTERFACES: Final = {
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
}
# Services that Lambda itself calls with a function's role, from outside of the network.
LAMBDA_S_OWN: Final = {"ec2", "logs"}


def functions(assembly: Assembly) -> Iterator[tuple[str, str, Resource]]:
    """Every function with its stack and logical id."""
    for stack in assembly.stacks:
        for name, function in assembly.resources(stack, FUNCTION).items():
            yield stack, name, function


def called(assembly: Assembly) -> set[str]:
    """The services that the functions of a service may call."""
    pairs = [
        pair
        for stack in assembly.stacks
        for policy, pairs in assembly.permissions(stack).items()
        if "Identity" in policy
        for pair in pairs
    ]
    return {action.partition(":")[0] for action, _ in pairs} - LAMBDA_S_OWN


def test_every_function_is_in_the_subnets_but_those_on_machines_with_a_network(
    accelerated: Assembly,
) -> None:
    found = {(stack, name): each["Properties"] for stack, name, each in functions(accelerated)}

    joined = {key: properties.get("VpcConfig") for key, properties in found.items()}

    own = {
        stack for (stack, _), properties in found.items() if "CapacityProviderConfig" in properties
    }
    assert own == {"lab-gpu-big", "lab-gpu-both"}
    assert joined == {(stack, name): None if stack in own else JOINED for stack, name in found}
    assert {stack for stack, _ in found} - own == {
        "lab-api",
        "lab-jobs",
        "lab-model-both",
        "lab-model-small",
    }


@pytest.mark.parametrize("name", ["shop", "lab", "group"])
def test_without_a_network_no_function_and_no_role_knows_of_one(
    name: str, request: pytest.FixtureRequest
) -> None:
    assembly: Assembly = request.getfixturevalue(name)

    joined = [
        function for _, function, each in functions(assembly) if "VpcConfig" in each["Properties"]
    ]
    templates = [assembly.template(stack)["Resources"] for stack in assembly.stacks]

    assert joined == []
    assert not [found for found in templates if "NetworkInterface" in str(found)]


def test_lambda_may_handle_interfaces_and_the_function_s_code_may_not(
    accelerated: Assembly,
) -> None:
    for stack, name, function in functions(accelerated):
        role = function["Properties"]["Role"]["Fn::GetAtt"][0]
        policies = accelerated.resources(stack, "AWS::IAM::Policy").items()
        own = {
            policy: each["Properties"]
            for policy, each in policies
            if each["Properties"]["Roles"] == [{"Ref": role}]
        }
        joining = [policy for policy in own if "Interfaces" in policy]

        assert len(joining) == ("VpcConfig" in function["Properties"]), name
        for policy in joining:
            allowed, denied = own[policy]["PolicyDocument"]["Statement"]
            assert (allowed["Effect"], denied["Effect"]) == ("Allow", "Deny")
            assert set(allowed["Action"]) == set(denied["Action"]) == INTERFACES
            assert allowed["Resource"] == denied["Resource"] == "*"
            assert "Condition" not in allowed
            assert denied["Condition"] == {"Null": {"lambda:SourceFunctionArn": "false"}}
            assert policy in function["DependsOn"]


def test_what_functions_may_do_besides_stays_as_it_is(accelerated: Assembly, lab: Assembly) -> None:
    joined = accelerated.permissions("lab-model-small").items()

    assert {name: pairs for name, pairs in joined if "Interfaces" not in name} == lab.permissions(
        "lab-model-small"
    )


def test_joining_a_network_publishes_a_version(
    accelerated: Assembly, lab: Assembly, group: Assembly
) -> None:
    before, other, joined = (
        set(assembly.resources("lab-model-small", "AWS::Lambda::Version"))
        for assembly in (lab, group, accelerated)
    )

    assert before == other
    assert not before & joined


def test_nothing_is_looked_up_for_it(accelerated: Assembly) -> None:
    assert '"missing"' not in (accelerated.folder / "manifest.json").read_text()


def test_the_endpoints_in_the_documentation_are_those_of_what_functions_call(
    shop: Assembly, lab: Assembly
) -> None:
    text = (
        (ROOT / "docs/deploying.md").read_text("utf-8").split("## In a VPC\n")[1].split("\n## ")[0]
    )
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    price = read_prices().usd("endpoint_hour") * HOURS

    named = [set(re.findall(r"`([a-z0-9]+)`", row.split("|")[1])) for row in rows]

    assert set.union(*named) == called(shop) | called(lab) | {"s3", "dynamodb"}
    gateways, *interfaces = rows
    assert "nothing" in gateways
    assert {row.split("|")[3].strip() for row in interfaces} == {f"${price:.2f} each"}
