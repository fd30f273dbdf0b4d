"""A function without a model in it."""

from pathlib import PurePosixPath
from typing import Final

from aws_cdk import Duration, SymlinkFollowMode
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.functions.function import PublishedFunction
from onnxlift.hosting import Vpc
from onnxlift_runtime.settings import Settings

CODE_FOLDER: Final = PurePosixPath("/var/task")  # where Lambda unpacks a function's zip


class ZipFunction(PublishedFunction):
    """The function ``handlers.<name>`` on the shared runtime layer."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        name: str,
        description: str,
        code: str,
        layer: str,
        settings: Settings,
        memory_mb: int,
        timeout_s: int,
        retention_days: int,
        vpc: Vpc | None,
    ) -> None:
        super().__init__(scope, id, retention_days=retention_days, vpc=vpc)
        runtime = lambda_.LayerVersion(
            self,
            "Runtime",
            code=lambda_.Code.from_asset(layer, follow_symlinks=SymlinkFollowMode.ALWAYS),
            compatible_runtimes=[lambda_.Runtime.PYTHON_3_13],
            description="onnxlift_runtime",
        )
        function = lambda_.Function(
            self,
            "Function",
            description=description,
            code=lambda_.Code.from_asset(code, follow_symlinks=SymlinkFollowMode.ALWAYS),
            handler=f"handlers.{name}.handler",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            layers=[runtime],
            memory_size=memory_mb,
            timeout=Duration.seconds(timeout_s),
            current_version_options=self.versions,
            **self.own(settings),
        )
        self.publish(function)
