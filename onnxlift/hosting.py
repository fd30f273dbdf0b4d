"""The tables of ``onnxlift.toml`` that say where and how a service runs; ``config`` reads them."""

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from onnxlift_runtime.settings import KEEP_DAYS

QueueName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")]
InstanceType: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$")]
Account: TypeAlias = Annotated[str, Field(pattern=r"^[0-9]{12}$")]
Region: TypeAlias = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[a-z]+)+-[0-9]$")]
Email: TypeAlias = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]
HostName: TypeAlias = Annotated[
    str, Field(pattern=r"^[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+$", max_length=253)
]
SubnetId: TypeAlias = Annotated[str, Field(pattern=r"^subnet-([0-9a-f]{8}|[0-9a-f]{17})$")]
SecurityGroupId: TypeAlias = Annotated[str, Field(pattern=r"^sg-([0-9a-f]{8}|[0-9a-f]{17})$")]
Certificate: TypeAlias = Annotated[
    str, Field(pattern=r"^arn:[a-z-]+:acm:[a-z0-9-]+:[0-9]{12}:certificate/\S+$")
]


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"{twice} is there twice")
    return names


class Table(BaseModel):
    """A table of the file: what it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Placement(Table):
    """Where the model must run, for users who know better than the measurements."""

    tier: Literal["auto", "lambda", "gpu"] = "auto"
    memory_mb: Annotated[int, Field(ge=128, le=10_240)] | None = Field(
        None, description="Lambda's memory; measured when absent."
    )
    fallback: bool = Field(
        False,
        description="Whether a model on Lambda has GPU workers as well, for what is too much for "
        "it.",
    )


class Throttle(Table):
    """API Gateway's bounds for all callers together."""

    rate: Annotated[int, Field(ge=1, le=10_000)] = Field(100, description="Requests per second.")
    burst: Annotated[int, Field(ge=1, le=5_000)] = 200


class Domain(Table):
    """A name of one's own for the API."""

    name: HostName = Field(description="The name, such as api.example.com.")
    certificate_arn: Certificate = Field(
        description="A certificate of ACM for it, in the service's region."
    )


class Api(Table):
    """The public API."""

    stage: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,128}$")] = "live"
    throttle: Throttle = Throttle()
    api_key_required: bool = Field(False, description="Every call then needs the header x-api-key.")
    log_retention_days: Literal[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365] = 30
    domain: Domain | None = None


class Vpc(Table):
    """The network of the functions; its parts exist already, in the account and region."""

    subnets: Annotated[tuple[SubnetId, ...], AfterValidator(_distinct)] = Field(
        min_length=1,
        max_length=16,
        description="Private subnets of one VPC, best in two zones.",
        json_schema_extra={"uniqueItems": True},
    )
    security_groups: Annotated[tuple[SecurityGroupId, ...], AfterValidator(_distinct)] = Field(
        min_length=1,
        max_length=5,
        description="Security groups of the same VPC, which let HTTPS out.",
        json_schema_extra={"uniqueItems": True},
    )


class Deployment(Table):
    """Where the service is deployed, and how much protects it without attention."""

    profile: Literal["low-cost", "standard"] = Field(
        "low-cost",
        description="low-cost: only what the service needs to work. standard: also alarms, a "
        "firewall in front of "
        "the API, and a table that cannot be deleted.",
    )
    account: Account | None = Field(
        None, description="The account that it may be deployed to; no other is touched."
    )
    region: Region | None = Field(
        None, description="The region; that of the credentials when absent."
    )
    alarm_email: Email | None = Field(
        None, description="Who is told of alarms, once they confirm it."
    )

    vpc: Vpc | None = Field(
        None, description="The network of the functions; Lambda's own when absent."
    )

    @property
    def is_watched(self) -> bool:
        """Whether there are alarms, and what else the profile ``standard`` brings."""
        return self.profile == "standard"

    @model_validator(mode="after")
    def _alarms_to_tell_of(self) -> "Deployment":
        if self.alarm_email and not self.is_watched:
            raise ValueError('alarm_email is for profile = "standard"; "low-cost" has no alarms')
        return self


class Jobs(Table):
    """How jobs are worked on: what arrives by queue, by bucket, or is not waited for."""

    timeout_s: Annotated[int, Field(ge=1, le=900)] = Field(
        300,
        description="Seconds after which a job's worker is stopped, and the job is tried again.",
    )
    batch_size: Annotated[int, Field(ge=1, le=10)] = Field(
        1,
        description="Jobs handed to a worker at once; those that fit together run as one "
        "inference.",
    )
    concurrency: Annotated[int, Field(ge=2, le=1_000)] = Field(
        10, description="Workers of one model at once."
    )
    keep_days: Annotated[int, Field(ge=1, le=365)] = Field(
        KEEP_DAYS,
        description="Days after which ended jobs, and payloads and results above 64 KB, are "
        "deleted.",
    )
    reply_queues: tuple[QueueName, ...] = Field(
        (), description="Queues of the same account and region that callers may name in reply_to."
    )
    topic: bool = Field(
        False, description="Whether an SNS topic is told when a job ends, in SageMaker's form."
    )


class Gpu(Table):
    """The workers of models that are placed on a GPU, or fall back to one."""

    backend: Literal["ecs", "lambda"] = Field(
        "ecs",
        description="ecs: workers on GPU machines. lambda (experimental): Lambda functions with a "
        "GPU.",
    )
    capacity: Literal["managed", "group"] = Field(
        "managed",
        description="Who keeps the machines: ECS Managed Instances, or an Auto Scaling group of "
        "your own.",
    )
    instance_types: tuple[InstanceType, ...] = Field(
        ("g6.xlarge", "g5.xlarge", "g4dn.xlarge"),
        min_length=1,
        description="Machines to take, any of them.",
    )
    spot: bool = Field(
        True, description="Take spot machines, and on-demand ones where there are none."
    )
    network: Literal["public", "endpoints", "nat"] = Field(
        "public",
        description="How workers reach AWS: public addresses without ingress, VPC endpoints, or a "
        "NAT gateway.",
    )
    max_tasks: Annotated[int, Field(ge=1, le=100)] = Field(
        1, description="Workers of one model at once."
    )
    jobs_per_task: Annotated[int, Field(ge=1, le=100_000)] = Field(
        100,
        description="Jobs, waiting or being worked on, that one worker is expected to cope with.",
    )
    idle_minutes: Annotated[int, Field(ge=1, le=1_440)] = Field(
        15, description="Minutes without a job after which the last worker ends."
    )
    timeout_s: Annotated[int, Field(ge=1, le=39_600)] = Field(
        3_600,
        description="Seconds after which an inference counts as hung, and its jobs are tried "
        "again.",
    )
    max_batch_size: Annotated[int, Field(ge=1, le=4_096)] = Field(
        32, description="Rows that are run together at most, where the model allows it."
    )
    max_wait_ms: Annotated[int, Field(ge=0, le=10_000)] = Field(
        10, description="Milliseconds that a job waits for others to be run with."
    )
    allow_cpu: bool = Field(
        False, description="Work without a GPU rather than not at all; slowly, and told loudly."
    )
