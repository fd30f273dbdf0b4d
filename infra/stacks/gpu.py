"""What the GPU workers of all models share."""

from collections.abc import Sequence

from aws_cdk import NestedStack
from aws_cdk import aws_ecs as ecs
from constructs import Construct

from infra.constructs.functions.accelerator import Accelerators
from infra.constructs.gpu.capacity import GroupCapacity, ManagedCapacity
from infra.constructs.gpu.network import Network, zones
from infra.models import DeployedModel
from onnxlift.config import Config
from onnxlift_runtime import names


class GpuStack(NestedStack):
    """The network, and the cluster with its machines, or those of Lambda functions; none of them
    runs by itself.
    """

    @property
    def availability_zones(self) -> list[str]:
        """What the CDK would otherwise look up in the account."""
        return zones()

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        config: Config,
        models: Sequence[DeployedModel],
    ) -> None:
        super().__init__(scope, id, description=f"onnxlift: GPU machines of {config.service}")
        gpu, service = config.gpu, config.service
        network = Network(self, "Network", profile=gpu.network, topic=config.jobs.topic)
        if gpu.backend == "lambda":
            Accelerators(self, "Accelerators", service=service, gpu=gpu, network=network)
            return
        cluster = ecs.Cluster(
            self,
            "Cluster",
            vpc=network.vpc,
            cluster_name=names.gpu_cluster_name(service),
            # What scaling needs, SQS and ECS tell for nothing.
            container_insights_v2=ecs.ContainerInsights.DISABLED,
        )
        if gpu.capacity == "managed":
            ManagedCapacity(
                self, "Machines", service=service, gpu=gpu, cluster=cluster, network=network
            )
        else:
            most = gpu.max_tasks * len(models)
            GroupCapacity(
                self,
                "Machines",
                service=service,
                gpu=gpu,
                cluster=cluster,
                network=network,
                max_machines=most,
            )
