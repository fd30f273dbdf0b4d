"""How jobs come in by bucket and by queue, and how webhooks go out."""

from collections.abc import Mapping
from typing import Any, Final

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from constructs import Construct

from infra.assets import SHIPPED_MODELS
from infra.constructs.permissions import CONSUME, READ, SEND, WRITE, Permissions, bucket_name
from infra.constructs.queue import FeedingQueue
from infra.constructs.zip import CODE_FOLDER, ZipFunction
from infra.settings import function_settings
from onnxlift.config import Config
from onnxlift.topology import Source, created_objects, service_sources
from onnxlift_runtime import layout

INGEST_MEMORY_MB: Final = 1_024
NOTIFY_MEMORY_MB: Final = 256


class JobsStack(Stack):
    """The queues of the service, the ``ingest`` function that makes jobs, and ``notify``, which delivers webhooks.

    ``code`` has the folder of each function, ``layer`` is that of the layer.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        config: Config,
        code: Mapping[str, str],
        layer: str,
        **stack: Any,
    ) -> None:
        super().__init__(scope, id, description=f"onnxlift: jobs of {config.service} by queue and bucket", **stack)
        self._config, self._code, self._layer = config, code, layer
        self._permissions = Permissions(self, config)
        public, dropped, webhooks = service_sources(config)
        ingest = self._add_function(dropped, "Makes jobs of dropped objects and of messages", INGEST_MEMORY_MB)
        self._allow_ingesting(ingest, public, dropped)
        notify = self._add_function(webhooks, "Delivers webhooks", NOTIFY_MEMORY_MB)
        self._allow_notifying(notify, webhooks)
        queue = self._add_queue("Public", public, ingest)
        self._add_rule(self._add_queue("Dropped", dropped, ingest))
        self._add_queue("Webhooks", webhooks, notify)
        CfnOutput(self, "JobsQueue", value=queue.queue.queue_url, description="Where callers send jobs")
        CfnOutput(self, "DataBucket", value=bucket_name(config.service), description="Where callers drop objects")

    def _add_function(self, source: Source, description: str, memory_mb: int) -> ZipFunction:
        return ZipFunction(
            self,
            source.function.capitalize(),
            name=source.function,
            description=description,
            code=self._code[source.function],
            layer=self._layer,
            settings=function_settings(self._config, CODE_FOLDER / SHIPPED_MODELS),
            memory_mb=memory_mb,
            timeout_s=source.timeout_s,
            retention_days=self._config.api.log_retention_days,
        )

    def _add_queue(self, id: str, source: Source, function: ZipFunction) -> FeedingQueue:  # noqa: A002
        queue = FeedingQueue(self, id, source=source)
        queue.feed(function.alias)
        return queue

    def _allow_ingesting(self, ingest: ZipFunction, *own: Source) -> None:
        reads = (layout.IN_PREFIX, layout.UPLOADS_PREFIX, layout.PAYLOADS_PREFIX)
        ingest.allow(
            *self._permissions.telling(),
            self._permissions.objects(READ, *reads),
            self._permissions.absence(),
            self._permissions.objects(WRITE, layout.PAYLOADS_PREFIX, layout.RESULTS_PREFIX),
            self._permissions.queues(SEND, *self._permissions.job_queues()),
            self._permissions.queues(CONSUME, *(source.queue for source in own)),
        )

    def _allow_notifying(self, notify: ZipFunction, webhooks: Source) -> None:
        notify.allow(
            self._permissions.table("GetItem", "PutItem"),
            self._permissions.webhook_secret(),
            self._permissions.queues(CONSUME, webhooks.queue),
        )

    def _add_rule(self, dropped: FeedingQueue) -> None:
        pattern = created_objects(bucket_name(self._config.service))
        events.Rule(
            self,
            "Rule",
            description="Objects dropped below in/",
            event_pattern=events.EventPattern(
                source=pattern["source"], detail_type=pattern["detail-type"], detail=pattern["detail"]
            ),
            targets=[targets.SqsQueue(dropped.queue)],
        )
