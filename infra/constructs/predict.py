"""The function that answers for one model."""

from typing import Final

from aws_cdk import Duration, IgnoreMode, SymlinkFollowMode
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.assets import DOCKERFILE
from infra.constructs.identity import FunctionIdentity
from infra.models import DeployedModel
from onnxlift.placement import API_TIMEOUT_MS
from onnxlift_runtime.settings import Settings

LIVE: Final = "live"
_ARCHITECTURES: Final = {
    "x86_64": (lambda_.Architecture.X86_64, ecr_assets.Platform.LINUX_AMD64),
    "arm64": (lambda_.Architecture.ARM_64, ecr_assets.Platform.LINUX_ARM64),
}


class PredictFunction(Construct):
    """An image function with every version of one model inside, published behind the alias ``live``."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        model: DeployedModel,
        context: str,
        settings: Settings,
        retention_days: int,
    ) -> None:
        super().__init__(scope, id)
        architecture, platform = _ARCHITECTURES[model.architecture]
        identity = FunctionIdentity(self, "Identity", retention_days=retention_days)
        code = lambda_.DockerImageCode.from_image_asset(
            context,
            file=DOCKERFILE,
            platform=platform,
            follow_symlinks=SymlinkFollowMode.ALWAYS,
            ignore_mode=IgnoreMode.DOCKER,
        )
        self.function = lambda_.DockerImageFunction(
            self,
            "Function",
            function_name=model.function_name,
            description=f"Answers for model {model.name}",
            code=code,
            architecture=architecture,
            memory_size=model.memory_mb,
            timeout=Duration.millis(API_TIMEOUT_MS),
            role=identity.role,
            log_group=identity.log_group,
            environment=settings.to_env(),
        )
        self.alias = lambda_.Alias(self, "Live", alias_name=LIVE, version=self.function.current_version)
