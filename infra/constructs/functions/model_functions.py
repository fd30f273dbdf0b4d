"""The functions of one model: one that answers requests, one that works on jobs."""

from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.assets import DOCKERFILE
from infra.constructs.functions.function import PublishedFunction
from infra.constructs.image import build_options
from infra.models import DeployedModel
from onnxlift.hosting import Vpc
from onnxlift_runtime.settings import Settings

_ARCHITECTURES: Final = {
    "x86_64": (lambda_.Architecture.X86_64, ecr_assets.Platform.LINUX_AMD64),
    "arm64": (lambda_.Architecture.ARM_64, ecr_assets.Platform.LINUX_ARM64),
}


class ModelFunction(PublishedFunction):
    """The function ``handlers.<name>`` with every version of one model inside.

    The functions of a model share one image; ``physical_name`` is for those that others find by
    name.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        name: str,
        description: str,
        model: DeployedModel,
        context: str,
        settings: Settings,
        timeout_ms: int,
        retention_days: int,
        vpc: Vpc | None,
        physical_name: str | None = None,
    ) -> None:
        super().__init__(scope, id, retention_days=retention_days, vpc=vpc)
        architecture, platform = _ARCHITECTURES[model.architecture]
        code = lambda_.DockerImageCode.from_image_asset(
            context,
            cmd=[f"handlers.{name}.handler"],
            **build_options(DOCKERFILE, platform),
        )
        function = lambda_.DockerImageFunction(
            self,
            "Function",
            function_name=physical_name,
            description=description,
            code=code,
            architecture=architecture,
            memory_size=model.memory_mb,
            timeout=Duration.millis(timeout_ms),
            current_version_options=self.versions,
            **self.own(settings),
        )
        self.publish(function)
