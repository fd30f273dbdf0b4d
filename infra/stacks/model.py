"""One model on Lambda."""

from aws_cdk import NestedStack
from constructs import Construct

from infra.constructs.alarms import Alarms
from infra.constructs.functions.model_functions import ModelFunction
from infra.constructs.permissions import READ, SEND, WRITE, Permissions
from infra.constructs.queue import FeedingQueue
from infra.models import DeployedModel
from infra.settings import function_settings
from onnxlift.config import Config
from onnxlift.placement import API_TIMEOUT_MS
from onnxlift.topology import job_source
from onnxlift_runtime import names


class ModelStack(NestedStack):
    """The functions of one model and the queue of its jobs; ``context`` is the folder its image is
    built from.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        config: Config,
        model: DeployedModel,
        context: str,
    ) -> None:
        super().__init__(scope, id, description=f"onnxlift: model {model.name} of {config.service}")
        self._config, self._model, self._context = config, model, context
        self._settings = function_settings(config, [model])
        source = job_source(config, model.name)
        answers = f"Answers for model {model.name}"
        predict = self._add_function(
            "predict",
            description=answers,
            timeout_ms=API_TIMEOUT_MS,
            physical_name=model.function_name,
        )
        batch = self._add_function(
            source.function,
            description=f"Works on jobs of model {model.name}",
            timeout_ms=source.timeout_s * 1000,
        )
        self._allow_submitting(predict)
        batch.allow(*Permissions(self, config).working(source.queue))
        FeedingQueue(self, "Jobs", source=source).feed(batch.alias)
        alarms = Alarms(self, "Alarms", config=config)
        alarms.watch_function("Predict", predict.function)
        alarms.watch_function("Batch", batch.function)
        alarms.watch_queue("Jobs", source)

    def _add_function(
        self, name: str, *, description: str, timeout_ms: int, physical_name: str | None = None
    ) -> ModelFunction:
        return ModelFunction(
            self,
            name.capitalize(),
            name=name,
            description=description,
            model=self._model,
            context=self._context,
            settings=self._settings,
            timeout_ms=timeout_ms,
            retention_days=self._config.api.log_retention_days,
            vpc=self._config.deployment.vpc,
            physical_name=physical_name,
        )

    def _allow_submitting(self, predict: ModelFunction) -> None:
        permissions, name = Permissions(self, self._config), self._model.name
        predict.allow(
            permissions.table("GetItem", "PutItem"),
            permissions.indexes(names.BY_QUEUE),
            permissions.objects(READ, names.UPLOADS_PREFIX, names.RESULTS_PREFIX),
            permissions.absence(),
            permissions.objects(WRITE, names.PAYLOADS_PREFIX),
            permissions.queues(
                (*SEND, "sqs:GetQueueAttributes"), *permissions.model_queues(self._settings, name)
            ),
            *permissions.waking(self._settings, name),
        )
