"""A GPU worker as a task of ECS: what its container may do, which is little."""

from typing import Final

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.assets import WORKER_DOCKERFILE
from infra.constructs.identity import RETENTION
from infra.constructs.image import build_options
from onnxlift.hosting import Gpu
from onnxlift_runtime.settings import Settings, WorkerSettings

USER: Final = "10001:10001"  # the image's own, which owns nothing
SCRATCH: Final = "/tmp"  # noqa: S108 - the one folder that the container may write to
# Of the 4,096 that the smallest GPU machines have; the machine itself needs some.
CPU_UNITS: Final = 3_072
MIN_MEMORY_MB: Final = 8_192
MEMORY_STEP_MB: Final = 1_024
START_PERIOD_S: Final = 300  # the longest that ECS waits before failing checks count


class WorkerTask(Construct):
    """The task that works on jobs with one GPU: no root, nothing writable but ``/tmp``, no
    capabilities.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        gpu: Gpu,
        context: str,
        settings: Settings,
        worker: WorkerSettings,
        memory_mb: int,
        retention_days: int,
    ) -> None:
        super().__init__(scope, id)
        log_group = logs.LogGroup(
            self, "Logs", retention=RETENTION[retention_days], removal_policy=RemovalPolicy.DESTROY
        )
        self.definition = self._add_definition(gpu, task_memory_mb(memory_mb))
        container = self.definition.add_container(
            "Worker",
            container_name="worker",
            image=ecs.ContainerImage.from_docker_image_asset(self._add_image(context)),
            gpu_count=1,
            user=USER,
            readonly_root_filesystem=True,
            linux_parameters=self._parameters(),
            # Unlike on Fargate, nobody else does on machines:
            # https://github.com/aws/containers-roadmap/issues/1611
            environment={
                **settings.to_env(),
                **worker.to_env(),
                "AWS_DEFAULT_REGION": Stack.of(self).region,
            },
            logging=ecs.LogDrivers.aws_logs(stream_prefix="worker", log_group=log_group),
            stop_timeout=Duration.seconds(worker.stop_within_s),
            health_check=ecs.HealthCheck(
                command=["CMD", "python3", "-m", "gpu_fallback.health"],
                interval=Duration.seconds(30),
                timeout=Duration.seconds(10),
                retries=3,
                start_period=Duration.seconds(START_PERIOD_S),
            ),
        )
        container.add_mount_points(
            ecs.MountPoint(container_path=SCRATCH, source_volume="scratch", read_only=False)
        )

    def allow(self, *statements: iam.PolicyStatement) -> None:
        """Let the worker do more."""
        for statement in statements:
            self.definition.add_to_task_role_policy(statement)

    def _add_definition(self, gpu: Gpu, memory_mb: int) -> ecs.TaskDefinition:
        managed = gpu.capacity == "managed"
        return ecs.TaskDefinition(
            self,
            "Task",
            compatibility=ecs.Compatibility.EC2_AND_MANAGED_INSTANCES
            if managed
            else ecs.Compatibility.EC2,
            # A task with an address of its own gets no public one. Managed machines know no bridge.
            network_mode=ecs.NetworkMode.HOST if managed else ecs.NetworkMode.BRIDGE,
            cpu=str(CPU_UNITS),
            memory_mib=str(memory_mb),
            volumes=[ecs.Volume(name="scratch")],
        )

    def _add_image(self, context: str) -> ecr_assets.DockerImageAsset:
        return ecr_assets.DockerImageAsset(
            self,
            "Image",
            directory=context,
            **build_options(WORKER_DOCKERFILE, ecr_assets.Platform.LINUX_AMD64),
        )

    def _parameters(self) -> ecs.LinuxParameters:
        parameters = ecs.LinuxParameters(self, "Linux", init_process_enabled=True)
        parameters.drop_capabilities(ecs.Capability.ALL)
        return parameters


def task_memory_mb(memory_mb: int) -> int:
    """What a task asks of its machine, in whole GiB: what the model needs on a processor, and the
    CUDA libraries'.
    """
    needed = memory_mb + 2 * MEMORY_STEP_MB
    return max(MIN_MEMORY_MB, -(-needed // MEMORY_STEP_MB) * MEMORY_STEP_MB)
