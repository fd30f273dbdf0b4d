"""One model on Lambda."""

from typing import Any

from aws_cdk import Stack
from constructs import Construct

from infra.constructs.predict import PredictFunction
from infra.models import DeployedModel
from onnxlift.config import Config
from onnxlift_runtime.settings import Settings


class ModelStack(Stack):
    """The function of one model; ``context`` is the folder its image is built from."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        config: Config,
        model: DeployedModel,
        context: str,
        **stack: Any,
    ) -> None:
        super().__init__(scope, id, description=f"onnxlift: model {model.name} of {config.service}", **stack)
        PredictFunction(
            self,
            "Predict",
            model=model,
            context=context,
            settings=predict_settings(config),
            retention_days=config.api.log_retention_days,
        )


def predict_settings(config: Config) -> Settings:
    """What a predict function is told."""
    return Settings(service=config.service)
