"""How jobs come in by bucket and by queue, how webhooks go out, and what becomes of jobs that
nobody could do.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from aws_cdk import NestedStack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.assets import SHIPPED_MODELS
from infra.constructs.alarms import Alarms
from infra.constructs.functions.zip_function import CODE_FOLDER, ZipFunction
from infra.constructs.output import add_output
from infra.constructs.permissions import CONSUME, READ, SEND, WRITE, Permissions, bucket_name
from infra.constructs.queue import FeedingQueue
from infra.models import DeployedModel, tiers
from infra.settings import function_settings
from onnxlift.config import Config
from onnxlift.topology import Source, created_objects, escalations, service_sources
from onnxlift_runtime import names
from onnxlift_runtime.jobs.triggers import DROPPED, PUBLIC, TRIGGERS

INGEST_MEMORY_MB: Final = 1_024
NOTIFY_MEMORY_MB: Final = 256
ESCALATE_MEMORY_MB: Final = 256


class JobsStack(NestedStack):
    """The queues of the service and their functions: ``ingest`` makes jobs, ``notify`` delivers
    webhooks.

    ``escalate`` takes the dead letters of every model's jobs.

    ``code`` has the folder of each function, ``layer`` is that of the layer.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        config: Config,
        models: Sequence[DeployedModel],
        code: Mapping[str, str],
        layer: str,
    ) -> None:
        super().__init__(
            scope, id, description=f"onnxlift: jobs of {config.service} by queue and bucket"
        )
        self._config, self._models, self._code, self._layer = config, models, code, layer
        self._settings = function_settings(config, models, CODE_FOLDER / SHIPPED_MODELS)
        self._permissions, self._alarms = (
            Permissions(self, config),
            Alarms(self, "Alarms", config=config),
        )
        *triggers, webhooks = service_sources(config)
        ingest = self._add_function(
            triggers[0], "Makes jobs of dropped objects and of messages", INGEST_MEMORY_MB
        )
        self._allow_ingesting(ingest, *triggers)
        notify = self._add_function(webhooks, "Delivers webhooks", NOTIFY_MEMORY_MB)
        self._allow_notifying(notify, webhooks)
        queues = {
            trigger: self._add_queue(trigger.title, source, ingest)
            for trigger, source in zip(TRIGGERS, triggers, strict=True)
        }
        self._add_rule(queues[DROPPED])
        self._add_queue("Webhooks", webhooks, notify)
        self._add_escalation(escalations(config, [model.name for model in models], tiers(models)))
        add_output(
            self,
            "JobsQueue",
            value=queues[PUBLIC].queue.queue_url,
            description="Where callers send jobs",
        )
        add_output(
            self,
            "DataBucket",
            value=bucket_name(config.service),
            description="Where callers drop objects",
        )

    def _add_function(self, source: Source, description: str, memory_mb: int) -> ZipFunction:
        name = source.function.capitalize()
        function = ZipFunction(
            self,
            name,
            name=source.function,
            description=description,
            code=self._code[source.function],
            layer=self._layer,
            settings=self._settings,
            memory_mb=memory_mb,
            timeout_s=source.timeout_s,
            retention_days=self._config.api.log_retention_days,
            vpc=self._config.deployment.vpc,
        )
        self._alarms.watch_function(name, function.function)
        return function

    def _add_queue(self, id: str, source: Source, function: ZipFunction) -> FeedingQueue:  # noqa: A002
        queue = FeedingQueue(self, id, source=source)
        queue.feed(function.alias)
        self._alarms.watch_queue(id, source)
        return queue

    def _allow_ingesting(self, ingest: ZipFunction, *own: Source) -> None:
        reads = (names.IN_PREFIX, names.UPLOADS_PREFIX, names.PAYLOADS_PREFIX)
        ingest.allow(
            *self._permissions.telling(),
            self._permissions.objects(READ, *reads),
            self._permissions.absence(),
            self._permissions.objects(WRITE, names.PAYLOADS_PREFIX, names.RESULTS_PREFIX),
            self._permissions.queues(SEND, *self._permissions.job_queues(self._settings)),
            *self._permissions.waking(self._settings, *self._config.models),
            self._permissions.queues(CONSUME, *(source.queue for source in own)),
        )

    def _allow_notifying(self, notify: ZipFunction, webhooks: Source) -> None:
        notify.allow(
            self._permissions.table("GetItem", "PutItem"),
            self._permissions.webhook_secret(),
            self._permissions.queues(CONSUME, webhooks.queue),
        )

    def _add_escalation(self, dead: Sequence[Source]) -> None:
        """Feed it by the queues' names: they are in the stacks of models, each of which may move or
        go.
        """
        if not dead:
            return
        escalate = self._add_function(
            dead[0], "Sends jobs on that nobody could do, or ends them", ESCALATE_MEMORY_MB
        )
        self._allow_escalating(escalate, dead)
        for source in dead:
            lambda_.EventSourceMapping(
                self,
                f"Escalate-{source.queue}",
                target=escalate.alias,
                event_source_arn=self.format_arn(service="sqs", resource=source.queue),
                batch_size=source.batch_size,
                max_concurrency=source.concurrency,
                report_batch_item_failures=True,
            )

    def _allow_escalating(self, escalate: ZipFunction, dead: Sequence[Source]) -> None:
        on_both = self._models_on_both()
        queues = [names.queue_name(self._config.service, model, names.GPU) for model in on_both]
        sending = [self._permissions.queues(SEND, *queues)] if queues else []
        escalate.allow(
            *self._permissions.telling(),
            self._permissions.queues(CONSUME, *(source.queue for source in dead)),
            *sending,
            *self._permissions.waking(self._settings, *on_both),
        )

    def _models_on_both(self) -> list[str]:
        """The models with workers on a GPU for what Lambda could not do."""
        return [model.name for model in self._models if model.on_lambda and model.on_gpu]

    def _add_rule(self, dropped: FeedingQueue) -> None:
        pattern = created_objects(bucket_name(self._config.service))
        events.Rule(
            self,
            "Rule",
            description="Objects dropped below in/",
            event_pattern=events.EventPattern(
                source=pattern["source"],
                detail_type=pattern["detail-type"],
                detail=pattern["detail"],
            ),
            targets=[targets.SqsQueue(dropped.queue)],
        )
