"""A queue that feeds a function, and the one that takes what could not be worked on."""

from aws_cdk import Duration, Stack
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from onnxlift.topology import (
    DEAD_RETENTION_S,
    DEAD_VISIBILITY_S,
    MAX_MESSAGE_BYTES,
    RETENTION_S,
    Source,
)
from onnxlift_runtime.names import dead_letter_name


class FeedingQueue(Construct):
    """The queue of ``source`` with its dead letters, encrypted, and reached by TLS alone."""

    def __init__(self, scope: Construct, id: str, *, source: Source) -> None:  # noqa: A002
        super().__init__(scope, id)
        self._source = source
        arn = Stack.of(self).format_arn(service="sqs", resource=source.queue)
        self.dead = sqs.Queue(
            self,
            "Dead",
            queue_name=dead_letter_name(source.queue),
            visibility_timeout=Duration.seconds(DEAD_VISIBILITY_S),
            retention_period=Duration.seconds(DEAD_RETENTION_S),
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            redrive_allow_policy=sqs.RedriveAllowPolicy(
                redrive_permission=sqs.RedrivePermission.BY_QUEUE,
                source_queues=[sqs.Queue.from_queue_arn(self, "Source", arn)],
            ),
        )
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=source.queue,
            visibility_timeout=Duration.seconds(source.visibility_s),
            retention_period=Duration.seconds(RETENTION_S),
            max_message_size_bytes=MAX_MESSAGE_BYTES,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            dead_letter_queue=sqs.DeadLetterQueue(
                queue=self.dead, max_receive_count=source.max_receives
            ),
        )

    def feed(self, alias: lambda_.IAlias) -> None:
        """Let Lambda hand the messages to a function, whose role must allow it to take them."""
        lambda_.EventSourceMapping(
            self,
            "Feed",
            target=alias,
            event_source_arn=self.queue.queue_arn,
            batch_size=self._source.batch_size,
            max_concurrency=self._source.concurrency,
            report_batch_item_failures=True,
        )
