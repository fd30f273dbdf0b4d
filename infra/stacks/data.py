"""What outlives every deployment: the table of jobs, the bucket, the secret, and where ended jobs
are told.
"""

from collections.abc import Mapping
from typing import Any, Final

from aws_cdk import CfnParameter, CfnRule, CfnRuleAssertion, Duration, Fn, RemovalPolicy, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra.constructs.alarms import AlarmTopic
from infra.constructs.permissions import bucket_name
from onnxlift.config import Config
from onnxlift.topology import UPLOADS_KEPT_DAYS
from onnxlift_runtime import names as layout
from onnxlift_runtime.errors import ConfigInvalid

SECRET_CHARACTERS: Final = 48
MAX_BUCKET_NAME: Final = 63
ACCOUNT_DIGITS: Final = 12
LONGEST_REGION: Final = len("ap-northeast-1")
# A first deployment that fails takes them back: what it left would be in the way of the next one,
# by its name.
KEPT: Final = RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE
SUFFIX: Final = "-data"


class DataStack(Stack):
    """The resources that hold data; table, bucket and secret stay when the stack goes.

    They have names of their own, so that the stacks of models find them without an export. Every
    other stack is deployed after this one: where ``missing`` names models without an artifact, with
    what to do about each, the template synthesises, and CloudFormation refuses to deploy it and so
    everything else. Raises ``ConfigInvalid`` where the service's name leaves no room in the
    bucket's, or is another's stack.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        config: Config,
        missing: Mapping[str, str],
        **stack: Any,
    ) -> None:
        super().__init__(scope, id, description=f"onnxlift: data of {config.service}", **stack)
        _check_name(config.service)
        if missing:
            self._refuse_deployment(missing)
        self.table = self._add_table(config)
        self.bucket = self._add_bucket(config)
        self.secret = secretsmanager.Secret(
            self,
            "Webhooks",
            secret_name=layout.webhook_secret_name(config.service),
            description=f"Signs the webhooks of {config.service}",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                exclude_punctuation=True, password_length=SECRET_CHARACTERS
            ),
            removal_policy=KEPT,
        )
        if config.jobs.topic:
            sns.Topic(self, "Topic", topic_name=layout.topic_name(config.service), enforce_ssl=True)
        if config.deployment.is_watched:
            AlarmTopic(self, "Alarms", service=config.service, email=config.deployment.alarm_email)
        self.bus = events.EventBus(self, "Bus", event_bus_name=layout.bus_name(config.service))

    def _refuse_deployment(self, missing: Mapping[str, str]) -> None:
        """Make CloudFormation stop before it creates anything, with the same words; a rule asks
        about a parameter.
        """
        names = ",".join(missing)
        parameter = CfnParameter(self, "NotCompressed", default=names, allowed_values=[names])
        condition = Fn.condition_equals(parameter.value_as_string, "")
        assertions = [
            CfnRuleAssertion(assert_=condition, assert_description=text)
            for text in missing.values()
        ]
        CfnRule(self, "EveryModelIsCompressed", assertions=assertions)

    def _add_table(self, config: Config) -> dynamodb.Table:
        table = dynamodb.Table(
            self,
            "Jobs",
            table_name=layout.table_name(config.service),
            partition_key=dynamodb.Attribute(
                name=layout.TABLE_KEY, type=dynamodb.AttributeType.STRING
            ),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            time_to_live_attribute=layout.TABLE_TTL,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            deletion_protection=config.deployment.is_watched or None,
            removal_policy=KEPT,
        )
        for index, key in layout.TABLE_INDEXES.items():
            table.add_global_secondary_index(
                index_name=index,
                partition_key=dynamodb.Attribute(name=key, type=dynamodb.AttributeType.STRING),
                sort_key=dynamodb.Attribute(
                    name=layout.TABLE_SORT, type=dynamodb.AttributeType.NUMBER
                ),
                projection_type=dynamodb.ProjectionType.INCLUDE,
                non_key_attributes=list(layout.TABLE_INCLUDES[index]),
            )
        return table

    def _add_bucket(self, config: Config) -> s3.Bucket:
        bucket = s3.Bucket(
            self,
            "Data",
            bucket_name=bucket_name(config.service),
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            versioned=True,
            lifecycle_rules=_lifecycle(config.jobs.keep_days),
            removal_policy=KEPT,
        )
        # By hand: the CDK's own way puts a function into the account that changes the bucket
        # afterwards.
        plain = bucket.node.default_child
        assert isinstance(plain, s3.CfnBucket)
        plain.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
            event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(
                event_bridge_enabled=True
            )
        )
        return bucket


def _lifecycle(keep_days: int) -> list[s3.LifecycleRule]:
    """What callers drop and what they are given stays; what only the service reads goes."""
    kept = {
        layout.UPLOADS_PREFIX: UPLOADS_KEPT_DAYS,
        layout.PAYLOADS_PREFIX: keep_days,
        layout.RESULTS_PREFIX: keep_days,
    }
    return [
        *(
            s3.LifecycleRule(
                id=prefix.rstrip("/"),
                prefix=prefix,
                expiration=Duration.days(days),
                noncurrent_version_expiration=Duration.days(1),
            )
            for prefix, days in kept.items()
        ),
        s3.LifecycleRule(
            id="leftovers",
            abort_incomplete_multipart_upload_after=Duration.days(1),
            expired_object_delete_marker=True,
            noncurrent_version_expiration=Duration.days(keep_days),
        ),
    ]


def data_stack_name(service: str) -> str:
    """The stack that holds a service's data."""
    return f"{service}{SUFFIX}"


def _check_name(service: str) -> None:
    """Refuse a name that leaves no room in the bucket's, and one whose stack would be that of
    another's data.
    """
    if service.endswith(SUFFIX):
        raise ConfigInvalid(
            f"service {service!r} would be deployed over the data of a service "
            f"{service.removesuffix(SUFFIX)!r}, whose "
            f"stack has that name; choose one that does not end in {SUFFIX!r}"
        )
    room = MAX_BUCKET_NAME - ACCOUNT_DIGITS - LONGEST_REGION - len("--")
    if len(service) > room:
        raise ConfigInvalid(
            f"service {service!r} has {len(service)} characters; the bucket's name, which holds "
            f"the account and the "
            f"region too, leaves room for {room}"
        )
