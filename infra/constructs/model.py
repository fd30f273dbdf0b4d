"""The functions of one model: one that answers requests, one that works on jobs."""

from typing import Final

from aws_cdk import Duration, IgnoreMode, SymlinkFollowMode
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.assets import DOCKERFILE
from infra.constructs.identity import FunctionIdentity
from infra.constructs.reach import build_reach
from infra.models import DeployedModel
from onnxlift_runtime.settings import Settings

LIVE: Final = "live"
_ARCHITECTURES: Final = {
    "x86_64": (lambda_.Architecture.X86_64, ecr_assets.Platform.LINUX_AMD64),
    "arm64": (lambda_.Architecture.ARM_64, ecr_assets.Platform.LINUX_ARM64),
}


class ModelFunction(Construct):
    """The function ``handlers.<name>`` with every version of one model inside, published behind the alias ``live``.

    The functions of a model share one image; ``physical_name`` is for those that others find by name.
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
        physical_name: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        architecture, platform = _ARCHITECTURES[model.architecture]
        self._identity = FunctionIdentity(self, "Identity", retention_days=retention_days)
        code = lambda_.DockerImageCode.from_image_asset(
            context,
            file=DOCKERFILE,
            cmd=[f"handlers.{name}.handler"],
            platform=platform,
            follow_symlinks=SymlinkFollowMode.ALWAYS,
            ignore_mode=IgnoreMode.DOCKER,
            **build_reach(),
        )
        self.function = lambda_.DockerImageFunction(
            self,
            "Function",
            function_name=physical_name,
            description=description,
            code=code,
            architecture=architecture,
            memory_size=model.memory_mb,
            timeout=Duration.millis(timeout_ms),
            role=self._identity.role,
            log_group=self._identity.log_group,
            environment=settings.to_env(),
        )
        self.alias = lambda_.Alias(self, "Live", alias_name=LIVE, version=self.function.current_version)

    def allow(self, *statements: iam.PolicyStatement) -> None:
        """Let the function's role do more."""
        self._identity.allow(*statements)
