"""The function that answers for the service as a whole."""

from pathlib import PurePosixPath
from typing import Final

from aws_cdk import Duration, SymlinkFollowMode
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.identity import FunctionIdentity
from infra.constructs.predict import LIVE
from onnxlift_runtime.settings import Settings

CODE_FOLDER: Final = PurePosixPath("/var/task")  # where Lambda unpacks a function's zip
MEMORY_MB: Final = 512
TIMEOUT_S: Final = 10


class ControlFunction(Construct):
    """A zip function on the shared runtime layer, published behind the alias ``live``."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        code: str,
        layer: str,
        settings: Settings,
        retention_days: int,
    ) -> None:
        super().__init__(scope, id)
        identity = FunctionIdentity(self, "Identity", retention_days=retention_days)
        runtime = lambda_.LayerVersion(
            self,
            "Runtime",
            code=lambda_.Code.from_asset(layer, follow_symlinks=SymlinkFollowMode.ALWAYS),
            compatible_runtimes=[lambda_.Runtime.PYTHON_3_13],
            description="onnxlift_runtime",
        )
        self.function = lambda_.Function(
            self,
            "Function",
            description="Answers for the service: what there is, whether it lives, how to call it",
            code=lambda_.Code.from_asset(code, follow_symlinks=SymlinkFollowMode.ALWAYS),
            handler="handlers.control.handler",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            layers=[runtime],
            memory_size=MEMORY_MB,
            timeout=Duration.seconds(TIMEOUT_S),
            role=identity.role,
            log_group=identity.log_group,
            environment=settings.to_env(),
        )
        self.alias = lambda_.Alias(self, "Live", alias_name=LIVE, version=self.function.current_version)
