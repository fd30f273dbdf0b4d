"""Who is told, and of what, when a service needs somebody to look after it."""

from dataclasses import dataclass
from typing import Final

from aws_cdk import Aws, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

from onnxlift.config import Config
from onnxlift.topology import Source
from onnxlift_runtime.names import dead_letter_name

PERIOD_S: Final = 300
LOOKS: Final = 3  # periods that are looked at
FAILING_SHARE: Final = 0.01  # of the API's calls
# A message may wait for a machine with a GPU, or to be tried again; but hardly for an hour.
OLDEST_S: Final = 3_600


@dataclass(frozen=True)
class Sign:
    """A figure of CloudWatch's, and from where on it is one of trouble in so many of the last
    periods.
    """

    namespace: str
    metric: str
    statistic: str
    threshold: float
    periods: int


def alarm_topic_name(service: str) -> str:
    """The SNS topic that all alarms of a service are told to."""
    return f"{service}-alarms"


class AlarmTopic(Construct):
    """The topic that alarms are told to, and the address that reads it, once its owner has
    confirmed that.
    """

    def __init__(self, scope: Construct, id: str, *, service: str, email: str | None) -> None:  # noqa: A002
        super().__init__(scope, id)
        topic = sns.Topic(self, "Topic", topic_name=alarm_topic_name(service), enforce_ssl=True)
        alarms = Stack.of(self).format_arn(service="cloudwatch", resource="alarm:*")
        # A topic with a policy of its own has lost the one that let its account's services publish.
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={
                    "ArnLike": {"aws:SourceArn": alarms},
                    "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
                },
            )
        )
        if email:
            sns.Subscription(
                self, "Email", topic=topic, protocol=sns.SubscriptionProtocol.EMAIL, endpoint=email
            )


class Alarms(Construct):
    """The alarms of one stack, where the profile has any; each tells the topic when it goes on, and
    when it is over.
    """

    def __init__(self, scope: Construct, id: str, *, config: Config) -> None:  # noqa: A002
        super().__init__(scope, id)
        self._is_wanted = config.deployment.is_watched
        self._topic = Stack.of(self).format_arn(
            service="sns", resource=alarm_topic_name(config.service)
        )

    def watch_function(self, name: str, function: lambda_.IFunction) -> None:
        """Calls that end in an error or a timeout, and calls that Lambda turns away, again and
        again.
        """
        for metric, told in (
            ("Errors", "fails"),
            ("Throttles", "is called more often than it may run at once"),
        ):
            sign = Sign("AWS/Lambda", metric, "Sum", 1, 2)
            self._add(
                f"{name}{metric}",
                f"Function {name} {told}",
                sign,
                FunctionName=function.function_name,
            )

    def watch_queue(self, name: str, source: Source) -> None:
        """Messages that wait too long, and dead letters that nobody takes."""
        dead, oldest_s = dead_letter_name(source.queue), max(OLDEST_S, 2 * source.visibility_s)
        waiting = Sign("AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum", oldest_s, LOOKS)
        stranded = Sign("AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", 1, LOOKS)
        self._add(
            f"{name}Age",
            f"A message waits in {source.queue} for {oldest_s} s",
            waiting,
            QueueName=source.queue,
        )
        self._add(
            f"{name}Dead",
            f"Messages in {dead} that could not be worked on",
            stranded,
            QueueName=dead,
        )

    def watch_api(self, name: str, stage: str) -> None:
        """A share of answers that are the service's fault."""
        told = f"More than {FAILING_SHARE:.0%} of the calls of {name} fail"
        failing = Sign("AWS/ApiGateway", "5XXError", "Average", FAILING_SHARE, 2)
        self._add("Failing", told, failing, ApiName=name, Stage=stage)

    def _add(self, id: str, description: str, sign: Sign, **dimensions: str) -> None:  # noqa: A002
        if not self._is_wanted:
            return
        cloudwatch.CfnAlarm(
            self,
            id,
            alarm_description=description,
            namespace=sign.namespace,
            metric_name=sign.metric,
            dimensions=[
                cloudwatch.CfnAlarm.DimensionProperty(name=name, value=value)
                for name, value in dimensions.items()
            ],
            statistic=sign.statistic,
            period=PERIOD_S,
            comparison_operator="GreaterThanOrEqualToThreshold",
            threshold=sign.threshold,
            evaluation_periods=LOOKS,
            datapoints_to_alarm=sign.periods,
            treat_missing_data="notBreaching",
            alarm_actions=[self._topic],
            ok_actions=[self._topic],
        )
