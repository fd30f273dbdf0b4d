"""Machines with a GPU, as ECS gets them when a task needs one and gives them back when none
does.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

from aws_cdk import Size
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.constructs.gpu.network import Network
from onnxlift.hosting import Gpu

Market = Literal["spot", "on-demand"]

MARKETS: Final[tuple[Market, ...]] = ("spot", "on-demand")
DISK_GIB: Final = 100  # the image with CUDA takes about 10, weights come beside it
SCALE_IN_AFTER_S: Final = 300  # a task that follows soon finds the machine with the image on it
_MARKET: Final = {
    "spot": ecs.CapacityOptionType.SPOT,
    "on-demand": ecs.CapacityOptionType.ON_DEMAND,
}


def provider_name(service: str, gpu: Gpu, market: Market) -> str:
    """How the stacks of models find the machines; ECS takes no name that begins with its own or
    AWS's.
    """
    return f"gpu-{service}-{gpu.capacity}-{market}"


class ManagedCapacity(Construct):
    """ECS Managed Instances: AWS starts, patches and ends the machines, and allows no metadata
    service but IMDSv2.

    Providers of both markets are always there, because they cost nothing: so a change of market
    changes no more than the services.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        service: str,
        gpu: Gpu,
        cluster: ecs.Cluster,
        network: Network,
    ) -> None:
        super().__init__(scope, id)
        machine = self._add_machine_role()
        profile, owner = (
            iam.InstanceProfile(self, "Profile", role=machine),
            self._add_owner_role(machine),
        )
        for market in MARKETS:
            provider = ecs.ManagedInstancesCapacityProvider(
                self,
                market.title(),
                capacity_provider_name=provider_name(service, gpu, market),
                capacity_option_type=_MARKET[market],
                ec2_instance_profile=profile,
                infrastructure_role=owner,
                instance_requirements=_requirements(gpu.instance_types),
                subnets=network.subnets,
                security_groups=[network.group],
                task_volume_storage=Size.gibibytes(DISK_GIB),
            )
            cluster.add_managed_instances_capacity_provider(provider)
            _give_back_soon(provider)

    def _add_machine_role(self) -> iam.Role:
        """What a machine may do: belong to a cluster."""
        policy = iam.ManagedPolicy.from_aws_managed_policy_name(
            "AmazonECSInstanceRolePolicyForManagedInstances"
        )
        principal = iam.ServicePrincipal("ec2.amazonaws.com")
        return iam.Role(self, "Machine", assumed_by=principal, managed_policies=[policy])

    def _add_owner_role(self, machine: iam.Role) -> iam.Role:
        """What ECS may do for the service: keep machines, each with the role above, which the
        policy does not name.
        """
        policy = iam.ManagedPolicy.from_aws_managed_policy_name(
            "AmazonECSInfrastructureRolePolicyForManagedInstances"
        )
        principal = iam.ServicePrincipal("ecs.amazonaws.com")
        role = iam.Role(self, "Owner", assumed_by=principal, managed_policies=[policy])
        passing = iam.PolicyStatement(
            actions=["iam:PassRole"],
            resources=[machine.role_arn],
            conditions={"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        )
        role.add_to_policy(passing)
        return role


class GroupCapacity(Construct):
    """Auto Scaling groups of one's own with the ECS image for GPUs: any machine type, and machines
    that stay.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        service: str,
        gpu: Gpu,
        cluster: ecs.Cluster,
        network: Network,
        max_machines: int,
    ) -> None:
        super().__init__(scope, id)
        for market in MARKETS:
            provider = ecs.AsgCapacityProvider(
                self,
                f"{market.title()}Provider",
                capacity_provider_name=provider_name(service, gpu, market),
                auto_scaling_group=self._add_group(market, gpu, network, max_machines),
                enable_managed_scaling=True,
                enable_managed_termination_protection=True,
                enable_managed_draining=True,
                # the way that AL2023 is told, too
                machine_image_type=ecs.MachineImageType.AMAZON_LINUX_2,
            )
            cluster.add_asg_capacity_provider(provider, spot_instance_draining=market == "spot")

    def _add_group(
        self, market: Market, gpu: Gpu, network: Network, max_machines: int
    ) -> autoscaling.AutoScalingGroup:
        return autoscaling.AutoScalingGroup(
            self,
            f"{market.title()}Group",
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnets=network.subnets),
            min_capacity=0,
            max_capacity=max_machines,
            new_instances_protected_from_scale_in=True,
            mixed_instances_policy=autoscaling.MixedInstancesPolicy(
                launch_template=self._add_template(market, gpu, network),
                launch_template_overrides=[
                    autoscaling.LaunchTemplateOverrides(instance_type=ec2.InstanceType(name))
                    for name in gpu.instance_types
                ],
                instances_distribution=autoscaling.InstancesDistribution(
                    on_demand_percentage_above_base_capacity=0 if market == "spot" else 100,
                    spot_allocation_strategy=autoscaling.SpotAllocationStrategy.PRICE_CAPACITY_OPTIMIZED,
                ),
            ),
        )

    def _add_template(self, market: Market, gpu: Gpu, network: Network) -> ec2.LaunchTemplate:
        role = iam.Role(
            self, f"{market.title()}Machine", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com")
        )
        disk = ec2.BlockDeviceVolume.ebs(
            DISK_GIB, encrypted=True, volume_type=ec2.EbsDeviceVolumeType.GP3
        )
        return ec2.LaunchTemplate(
            self,
            f"{market.title()}Template",
            machine_image=ecs.EcsOptimizedImage.amazon_linux2023(ecs.AmiHardwareType.GPU),
            instance_type=ec2.InstanceType(gpu.instance_types[0]),
            security_group=network.group,
            role=role,
            user_data=ec2.UserData.for_linux(),
            block_devices=[ec2.BlockDevice(device_name="/dev/xvda", volume=disk)],
            # One hop ends at the machine: a container cannot take its machine's credentials.
            require_imdsv2=True,
            http_put_response_hop_limit=1,
        )


def _requirements(instance_types: Sequence[str]) -> ec2.InstanceRequirementsConfig:
    return ec2.InstanceRequirementsConfig(
        v_cpu_count_min=1,
        memory_min=Size.gibibytes(1),
        accelerator_types=[ec2.AcceleratorType.GPU],
        accelerator_manufacturers=[ec2.AcceleratorManufacturer.NVIDIA],
        accelerator_count_min=1,
        allowed_instance_types=list(instance_types),
    )


def _give_back_soon(provider: ecs.ManagedInstancesCapacityProvider) -> None:
    """What the CDK's construct has no argument for."""
    plain: Any = provider.node.default_child or provider.node.find_child("CapacityProvider")
    optimization = "ManagedInstancesProvider.InfrastructureOptimization.ScaleInAfter"
    plain.add_property_override(optimization, SCALE_IN_AFTER_S)
