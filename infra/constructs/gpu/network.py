"""Where GPU machines stand, and how they reach AWS: never from outside, and only what a service
pays for.
"""

from typing import Final, Literal

from aws_cdk import Fn
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

Profile = Literal["public", "endpoints", "nat"]

ZONES: Final = 2  # every region has two; a third would cost each interface endpoint once more
HTTPS: Final = 443
# What a worker and its machine call, besides S3 and DynamoDB, whose gateways cost nothing.
ENDPOINTS: Final = {
    "EcrApi": ec2.InterfaceVpcEndpointAwsService.ECR,
    "EcrImages": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
    "Ecs": ec2.InterfaceVpcEndpointAwsService.ECS,
    "EcsAgent": ec2.InterfaceVpcEndpointAwsService.ECS_AGENT,
    "EcsTelemetry": ec2.InterfaceVpcEndpointAwsService.ECS_TELEMETRY,
    "Logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
    "Queues": ec2.InterfaceVpcEndpointAwsService.SQS,
    "Events": ec2.InterfaceVpcEndpointAwsService.EVENTBRIDGE,
}
TOPIC_ENDPOINT: Final = {"Topic": ec2.InterfaceVpcEndpointAwsService.SNS}
_SUBNETS: Final = {
    "public": ec2.SubnetType.PUBLIC,
    "endpoints": ec2.SubnetType.PRIVATE_ISOLATED,
    "nat": ec2.SubnetType.PRIVATE_WITH_EGRESS,
}


def zones() -> list[str]:
    """The zones by number: for names, AWS would have to be asked, before anything can be
    synthesised.
    """
    return [Fn.select(number, Fn.get_azs()) for number in range(ZONES)]


class Network(Construct):
    """A network of its own, with ``subnets`` and the ``group`` of GPU machines, which nobody can
    call.

    ``profile``: public addresses that are paid for while a machine runs, interface endpoints, or
    one NAT gateway.
    """

    def __init__(self, scope: Construct, id: str, *, profile: Profile, topic: bool) -> None:  # noqa: A002
        super().__init__(scope, id)
        self.vpc = self._add_vpc(profile)
        self.subnets = self.vpc.select_subnets(subnet_type=_SUBNETS[profile]).subnets
        self.group = ec2.SecurityGroup(
            self,
            "Machines",
            vpc=self.vpc,
            description="GPU machines: they call AWS by HTTPS",
            allow_all_outbound=False,
        )
        self.group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(HTTPS), "AWS")
        if profile == "endpoints":
            self._add_endpoints(topic)

    def _add_vpc(self, profile: Profile) -> ec2.Vpc:
        subnets = [ec2.SubnetConfiguration(name="machines", subnet_type=_SUBNETS[profile])]
        if profile == "nat":
            subnets.append(
                ec2.SubnetConfiguration(
                    name="gateway", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=28
                )
            )
        return ec2.Vpc(
            self,
            "Vpc",
            availability_zones=zones(),
            subnet_configuration=subnets,
            # Nothing is in the default group; to empty it, the CDK would put a function of its own
            # into the account.
            restrict_default_security_group=False,
            nat_gateways=1 if profile == "nat" else 0,
            gateway_endpoints={
                "Objects": ec2.GatewayVpcEndpointOptions(
                    service=ec2.GatewayVpcEndpointAwsService.S3
                ),
                "Table": ec2.GatewayVpcEndpointOptions(
                    service=ec2.GatewayVpcEndpointAwsService.DYNAMODB
                ),
            },
        )

    def _add_endpoints(self, topic: bool) -> None:
        group = ec2.SecurityGroup(
            self,
            "Endpoints",
            vpc=self.vpc,
            description="AWS, as GPU machines reach it",
            allow_all_outbound=False,
        )
        group.add_ingress_rule(self.group, ec2.Port.tcp(HTTPS), "GPU machines")
        for id, service in (ENDPOINTS | (TOPIC_ENDPOINT if topic else {})).items():  # noqa: A001
            self.vpc.add_interface_endpoint(
                id,
                service=service,
                open=False,
                security_groups=[group],
                subnets=ec2.SubnetSelection(subnets=self.subnets),
            )
