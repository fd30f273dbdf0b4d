"""What functions may do with jobs: exact actions on resources that are found by their names."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from aws_cdk import ArnFormat, Aws, Stack
from aws_cdk import aws_iam as iam

from onnxlift.config import Config
from onnxlift_runtime import names as layout
from onnxlift_runtime.settings import Settings

READ: Final = ("s3:GetObject", "s3:GetObjectVersion")
WRITE: Final = ("s3:PutObject", "s3:AbortMultipartUpload")
SEND: Final = ("sqs:SendMessage", "sqs:GetQueueUrl")
CONSUME: Final = (
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibility",
    "sqs:GetQueueAttributes",
    "sqs:GetQueueUrl",
)


def bucket_name(service: str) -> str:
    """The data bucket of a service in the account and region it is deployed to."""
    return layout.bucket_name(service, Aws.ACCOUNT_ID, Aws.REGION)


def topic_arn(service: str) -> str:
    """The topic of a service in the account and region it is deployed to."""
    return f"arn:{Aws.PARTITION}:sns:{Aws.REGION}:{Aws.ACCOUNT_ID}:{layout.topic_name(service)}"


@dataclass(frozen=True)
class Permissions:
    """Statements for the jobs of one service, in the account and region of ``stack``."""

    stack: Stack
    config: Config

    def table(self, *actions: str) -> iam.PolicyStatement:
        """Single jobs by id."""
        return _allow((f"dynamodb:{action}" for action in actions), [self._table_arn()])

    def indexes(self, *names: str) -> iam.PolicyStatement:
        """Lists of jobs."""
        return _allow(["dynamodb:Query"], [f"{self._table_arn()}/index/{name}" for name in names])

    def objects(self, actions: Iterable[str], *prefixes: str) -> iam.PolicyStatement:
        """Objects below some prefixes of the data bucket."""
        return _allow(actions, [f"{self._bucket_arn()}/{prefix}*" for prefix in prefixes])

    def absence(self) -> iam.PolicyStatement:
        """Learn that an object does not exist: without this, S3 answers that access is denied.

        A prefix cannot be asked for, because S3 has none to compare when it looks for a single
        object.
        """
        return _allow(["s3:ListBucket"], [self._bucket_arn()])

    def queues(self, actions: Iterable[str], *names: str) -> iam.PolicyStatement:
        """Some queues."""
        return _allow(
            actions, [self.stack.format_arn(service="sqs", resource=name) for name in names]
        )

    def job_queues(self, settings: Settings) -> tuple[str, ...]:
        """Every queue that a job may wait in."""
        names = (
            name for model in self.config.models for name in self.model_queues(settings, model)
        )
        return (*names, layout.ingest_queue_name(self.config.service))

    def model_queues(self, settings: Settings, model: str) -> tuple[str, ...]:
        """The queues of one model's jobs."""
        return tuple(
            layout.queue_name(self.config.service, model, tier) for tier in settings.tiers_of(model)
        )

    def waking(self, settings: Settings, *models: str) -> list[iam.PolicyStatement]:
        """Start a worker of those of these models that have some, rather than wait for an alarm."""
        if not settings.gpu_cluster:
            return []
        names = [
            layout.gpu_service_name(self.config.service, model)
            for model in models
            if layout.GPU in settings.tiers_of(model)
        ]
        services = [
            self.stack.format_arn(
                service="ecs", resource="service", resource_name=f"{settings.gpu_cluster}/{name}"
            )
            for name in names
        ]
        return [_allow(["ecs:DescribeServices", "ecs:UpdateService"], services)] if services else []

    def working(self, queue: str) -> list[iam.PolicyStatement]:
        """Take jobs from a queue, do them, and tell it."""
        return [
            *self.telling(),
            self.objects(READ, layout.PAYLOADS_PREFIX, layout.UPLOADS_PREFIX, layout.IN_PREFIX),
            self.absence(),
            self.objects(WRITE, layout.RESULTS_PREFIX),
            self.queues(CONSUME, queue),
        ]

    def protection(self) -> iam.PolicyStatement:
        """Keep ECS from ending a task of the service's cluster while it works."""
        cluster = layout.gpu_cluster_name(self.config.service)
        tasks = self.stack.format_arn(service="ecs", resource="task", resource_name=f"{cluster}/*")
        return _allow(["ecs:GetTaskProtection", "ecs:UpdateTaskProtection"], [tasks])

    def telling(self) -> list[iam.PolicyStatement]:
        """Tell that a job has ended: on the bus, below ``out/``, to the job it is a part of, to its
        caller.
        """
        service = self.config.service
        bus = self.stack.format_arn(
            service="events", resource="event-bus", resource_name=layout.bus_name(service)
        )
        own = (layout.ingest_queue_name(service), layout.webhook_queue_name(service))
        # The topic's consumers read results in the bucket: one that stands in the table is written
        # there for them.
        topic = [
            _allow(["sns:Publish"], [topic_arn(service)]),
            self.objects(WRITE, layout.RESULTS_PREFIX),
        ]
        return [
            self.table("GetItem", "PutItem", "UpdateItem"),
            _allow(["events:PutEvents"], [bus]),
            self.objects(READ, layout.RESULTS_PREFIX),
            self.objects((*WRITE, "s3:DeleteObject"), layout.OUT_PREFIX),
            self.queues(SEND, *own, *self.config.jobs.reply_queues),
            *(topic if self.config.jobs.topic else ()),
        ]

    def webhook_secret(self) -> iam.PolicyStatement:
        """Sign webhooks, and tell a caller what with; Secrets Manager ends ARNs with six letters of
        its own.
        """
        arn = self.stack.format_arn(
            service="secretsmanager",
            resource="secret",
            resource_name=f"{layout.webhook_secret_name(self.config.service)}-??????",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        return _allow(["secretsmanager:GetSecretValue"], [arn])

    def _table_arn(self) -> str:
        name = layout.table_name(self.config.service)
        return self.stack.format_arn(service="dynamodb", resource="table", resource_name=name)

    def _bucket_arn(self) -> str:
        return f"arn:{Aws.PARTITION}:s3:::{bucket_name(self.config.service)}"


def _allow(actions: Iterable[str], resources: list[str]) -> iam.PolicyStatement:
    return iam.PolicyStatement(actions=list(actions), resources=resources)
