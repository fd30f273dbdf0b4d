"""What the GPU workers of all models share: a network that nobody can call into, and machines."""

import json
from collections.abc import Iterator

import pytest

from infra.constructs.gpu.network import ENDPOINTS
from tests.infra.assembly import Assembly, Resource, flat

GPU = "lab-gpu"
ASSEMBLIES = ("lab", "group", "accelerated")


@pytest.fixture(params=ASSEMBLIES)
def every(request: pytest.FixtureRequest) -> Assembly:
    """Each way to have a GPU, in turn."""
    assembly: Assembly = request.getfixturevalue(request.param)
    return assembly


def services(assembly: Assembly) -> set[str]:
    """The AWS services that have an endpoint in the network, as ``type name``."""
    found = assembly.resources(GPU, "AWS::EC2::VPCEndpoint").values()
    endpoints = [resource["Properties"] for resource in found]
    return {
        f"{end['VpcEndpointType']} {flat(end['ServiceName']).rpartition('Region>.')[2]}"
        for end in endpoints
    }


def ingress(assembly: Assembly) -> Iterator[Resource]:
    for group in assembly.resources(GPU, "AWS::EC2::SecurityGroup").values():
        yield from group["Properties"].get("SecurityGroupIngress", [])
    for rule in assembly.resources(GPU, "AWS::EC2::SecurityGroupIngress").values():
        yield rule["Properties"]


def machines(assembly: Assembly) -> str:
    """The logical id of the machines' security group."""
    groups = assembly.resources(GPU, "AWS::EC2::SecurityGroup").items()
    (name,) = (
        name
        for name, group in groups
        if group["Properties"]["GroupDescription"].startswith("GPU machines")
    )
    return name


def test_there_is_one_shared_stack_and_one_for_each_model_on_a_gpu(every: Assembly) -> None:
    assert {stack for stack in every.stacks if stack.startswith("lab-gpu")} == {
        "lab-gpu",
        "lab-gpu-big",
        "lab-gpu-both",
    }


def test_a_service_without_models_on_a_gpu_has_none_of_it(shop: Assembly) -> None:
    kinds = {
        resource["Type"]
        for stack in shop.stacks
        for resource in shop.template(stack)["Resources"].values()
    }

    assert not [
        kind for kind in kinds if kind.startswith(("AWS::EC2", "AWS::ECS", "AWS::AutoScaling"))
    ]


def test_nobody_can_call_a_machine(every: Assembly) -> None:
    group = every.resources(GPU, "AWS::EC2::SecurityGroup")[machines(every)]["Properties"]

    called = {rule["GroupId"]["Fn::GetAtt"][0] for rule in ingress(every) if "GroupId" in rule}

    assert "SecurityGroupIngress" not in group
    assert machines(every) not in called
    assert [
        (rule["IpProtocol"], rule["FromPort"], rule["ToPort"])
        for rule in group["SecurityGroupEgress"]
    ] == [("tcp", 443, 443)]


def test_only_machines_call_the_endpoints_and_only_by_https(group: Assembly) -> None:
    rules = list(ingress(group))

    assert [(rule["FromPort"], rule["ToPort"]) for rule in rules] == [(443, 443)]
    assert rules[0]["SourceSecurityGroupId"]["Fn::GetAtt"][0] == machines(group)


@pytest.mark.parametrize(
    ("name", "public", "gateways"),
    [("lab", True, 0), ("group", False, 0), ("accelerated", True, 1)],
)
def test_a_network_has_what_its_profile_pays_for(
    request: pytest.FixtureRequest, name: str, public: bool, gateways: int
) -> None:
    assembly: Assembly = request.getfixturevalue(name)

    assert bool(assembly.resources(GPU, "AWS::EC2::InternetGateway")) is public
    assert len(assembly.resources(GPU, "AWS::EC2::NatGateway")) == gateways
    interfaces = {service for service in services(assembly) if service.startswith("Interface")}
    assert len(interfaces) == (len(ENDPOINTS) if name == "group" else 0)


def test_s3_and_dynamodb_are_reached_for_nothing_in_every_network(every: Assembly) -> None:
    assert {"Gateway s3", "Gateway dynamodb"} <= services(every)


def test_machines_in_a_private_network_have_no_public_address(group: Assembly) -> None:
    subnets = group.resources(GPU, "AWS::EC2::Subnet").values()

    assert subnets
    assert not any(subnet["Properties"]["MapPublicIpOnLaunch"] for subnet in subnets)


def test_nothing_is_looked_up_in_the_account(every: Assembly) -> None:
    manifest = json.loads((every.folder / "manifest.json").read_text())

    zones = [
        each["Properties"]["AvailabilityZone"]
        for each in every.resources(GPU, "AWS::EC2::Subnet").values()
    ]

    assert "missing" not in manifest
    assert all(list(zone) == ["Fn::Select"] for zone in zones)


def test_managed_machines_have_an_nvidia_gpu_and_are_given_back_when_idle(lab: Assembly) -> None:
    providers = [
        found["Properties"] for found in lab.resources(GPU, "AWS::ECS::CapacityProvider").values()
    ]

    markets = {found["Name"]: found["ManagedInstancesProvider"] for found in providers}
    templates = {name: found["InstanceLaunchTemplate"] for name, found in markets.items()}

    assert {name: found["CapacityOptionType"] for name, found in templates.items()} == {
        "gpu-lab-managed-spot": "SPOT",
        "gpu-lab-managed-on-demand": "ON_DEMAND",
    }
    for name, template in templates.items():
        needed = template["InstanceRequirements"]
        assert needed["AllowedInstanceTypes"] == ["g6.xlarge", "g5.xlarge", "g4dn.xlarge"]
        assert (needed["AcceleratorManufacturers"], needed["AcceleratorTypes"]) == (
            ["nvidia"],
            ["gpu"],
        )
        assert needed["AcceleratorCount"] == {"Min": 1}
        assert markets[name]["InfrastructureOptimization"] == {"ScaleInAfter": 300}


def test_ecs_may_pass_on_the_role_of_its_machines_and_no_other(lab: Assembly) -> None:
    (policy,) = lab.resources(GPU, "AWS::IAM::Policy").values()
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]

    (profile,) = lab.resources(GPU, "AWS::IAM::InstanceProfile").values()

    assert statement["Action"] == "iam:PassRole"
    assert statement["Resource"]["Fn::GetAtt"][0] == profile["Properties"]["Roles"][0]["Ref"]
    assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}


def test_machines_of_ones_own_take_only_signed_metadata_requests_from_themselves(
    group: Assembly,
) -> None:
    found = group.resources(GPU, "AWS::EC2::LaunchTemplate").values()
    templates = [template["Properties"]["LaunchTemplateData"] for template in found]

    assert len(templates) == 2
    for template in templates:
        assert template["MetadataOptions"]["HttpTokens"] == "required"
        assert template["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
        assert template["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True


def test_machines_of_ones_own_begin_with_none_and_stay_while_they_work(group: Assembly) -> None:
    groups = [
        found["Properties"]
        for found in group.resources(GPU, "AWS::AutoScaling::AutoScalingGroup").values()
    ]
    providers = [
        found["Properties"] for found in group.resources(GPU, "AWS::ECS::CapacityProvider").values()
    ]

    shares = {
        found["MixedInstancesPolicy"]["InstancesDistribution"][
            "OnDemandPercentageAboveBaseCapacity"
        ]
        for found in groups
    }

    assert shares == {0, 100}
    assert {(found["MinSize"], found["MaxSize"]) for found in groups} == {("0", "2")}
    assert all(found["NewInstancesProtectedFromScaleIn"] for found in groups)
    for provider in providers:
        assert provider["AutoScalingGroupProvider"]["ManagedTerminationProtection"] == "ENABLED"
        assert provider["AutoScalingGroupProvider"]["ManagedScaling"]["Status"] == "ENABLED"


def test_machines_run_the_image_for_gpus(group: Assembly) -> None:
    parameters = group.template(GPU)["Parameters"].values()

    images = [found["Default"] for found in parameters if "ami" in found.get("Default", "")]

    assert images
    assert all("/amazon-linux-2023/gpu/" in image for image in images)


def test_machines_of_functions_are_the_configured_ones(accelerated: Assembly) -> None:
    provider = accelerated.only(GPU, "AWS::Lambda::CapacityProvider")

    assert provider["CapacityProviderName"] == "gpu-lab"
    assert provider["InstanceRequirements"]["AllowedInstanceTypes"] == [
        "g6.xlarge",
        "g5.xlarge",
        "g4dn.xlarge",
    ]
