"""Lambda functions with a GPU, on machines that Lambda keeps in the service's own network (Lambda
Managed Instances).

Experimental: Lambda has had GPUs since November 2026, and what is written here was compared with
the API's description, and never deployed.
"""

from typing import Any, Final

from aws_cdk import Acknowledgment, Annotations, ArnFormat, Duration, Stack, Validations
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.assets import DOCKERFILE
from infra.constructs.functions.function import PublishedFunction
from infra.constructs.gpu.network import Network
from infra.constructs.image import build_options
from infra.models import DeployedModel
from onnxlift.hosting import Gpu
from onnxlift_runtime.settings import Settings

MEMORY_MB: Final = 16_384
SIZES_GIB: Final = (3, 6, 12, 16, 24, 48)  # Lambda gives no others
# In GPU memory a model takes about what it took on a processor, and the CUDA libraries take some
# more.
LIBRARIES_MB: Final = 1_024
WARNING: Final = (
    'gpu.backend = "lambda" is experimental: nothing of it was ever run, because Lambda has had '
    "GPUs only since "
    "November 2026, and the function computes on the processor, so that the GPU is paid for and "
    "not used; "
    'the backend that is in use is "ecs"'
)


def capacity_name(service: str) -> str:
    """How the stacks of models find the machines of functions with a GPU."""
    return f"gpu-{service}"


def accelerator_gib(memory_mb: int) -> int:
    """The smallest GPU memory that Lambda gives and that holds a model; the largest where none
    does.
    """
    needed = (memory_mb + LIBRARIES_MB) / 1024
    return next((size for size in SIZES_GIB if size >= needed), SIZES_GIB[-1])


class Accelerators(Construct):
    """The machines that functions with a GPU share."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        service: str,
        gpu: Gpu,
        network: Network,
    ) -> None:
        super().__init__(scope, id)
        lambda_.CapacityProvider(
            self,
            "Provider",
            capacity_provider_name=capacity_name(service),
            subnets=network.subnets,
            security_groups=[network.group],
            architectures=[lambda_.Architecture.X86_64],
            instance_type_filter=lambda_.InstanceTypeFilter.allow(
                [ec2.InstanceType(name) for name in gpu.instance_types]
            ),
        )


class AcceleratedFunction(PublishedFunction):
    """The function ``handlers.batch`` with every version of one model and a GPU.

    There are none of it while there is nothing to do, and at most ``max_tasks``. Its network is
    that of its machines.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        model: DeployedModel,
        context: str,
        settings: Settings,
        timeout_s: int,
        max_tasks: int,
        retention_days: int,
    ) -> None:
        super().__init__(scope, id, retention_days=retention_days)
        function = lambda_.DockerImageFunction(
            self,
            "Function",
            description=f"Works on jobs of model {model.name} with a GPU",
            code=lambda_.DockerImageCode.from_image_asset(
                context,
                cmd=["handlers.batch.handler"],
                **build_options(DOCKERFILE, ecr_assets.Platform.LINUX_AMD64),
            ),
            architecture=lambda_.Architecture.X86_64,
            memory_size=MEMORY_MB,
            timeout=Duration.seconds(timeout_s),
            **self.own(settings),
        )
        self._accelerate(function, settings.service, accelerator_gib(model.memory_mb), max_tasks)
        self.publish(function)
        Annotations.of(self).add_warning_v2("onnxlift:experimental", WARNING)

    def _accelerate(
        self, function: lambda_.Function, service: str, size_gib: int, most: int
    ) -> None:
        """What the CDK's construct has no argument for, in CloudFormation's own words."""
        arn = Stack.of(self).format_arn(
            service="lambda",
            resource="capacity-provider",
            resource_name=capacity_name(service),
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        plain: Any = function.node.default_child
        plain.capacity_provider_config = lambda_.CfnFunction.CapacityProviderConfigProperty(
            lambda_managed_instances_capacity_provider_config=(
                lambda_.CfnFunction.LambdaManagedInstancesCapacityProviderConfigProperty(
                    capacity_provider_arn=arn, per_execution_environment_max_concurrency=1
                )
            )
        )
        plain.function_scaling_config = lambda_.CfnFunction.FunctionScalingConfigProperty(
            min_execution_environments=0, max_execution_environments=most
        )
        # The CDK does not know yet that another GPU makes another version.
        lambda_.Function.classify_version_property("AcceleratorConfig", True)
        plain.add_property_override("AcceleratorConfig", {"AcceleratorMemorySize": size_gib})
        # The schemas that the CDK and cfn-lint check against are older than the property.
        plain.add_metadata("cfn-lint", {"config": {"ignore_checks": ["E3002"]}})
        late = Acknowledgment(
            id="CloudFormation-Validate::F3002", reason="AcceleratorConfig is newer than the schema"
        )
        Validations.of(function).acknowledge(late)
