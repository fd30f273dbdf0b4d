"""What every role may do, written down: each action with each resource, and nothing else.

The service has a model on Lambda, one on a GPU and one on both. Resources are named without the
service's own name; an action is of the resource's own service.
"""

import re
from typing import Final

from tests.infra.assembly import Assembly

Table = dict[str, str]

READ: Final = "GetObject GetObjectVersion"
WRITE: Final = "AbortMultipartUpload PutObject"
SEND: Final = "GetQueueUrl SendMessage"
COUNT_AND_SEND: Final = f"{SEND} GetQueueAttributes"
TAKE: Final = "ChangeMessageVisibility DeleteMessage GetQueueAttributes GetQueueUrl ReceiveMessage"
WAKE: Final = "DescribeServices UpdateService"

LOG: Final[Table] = {"own log": "CreateLogStream PutLogEvents"}
# Tell that a job has ended, to whoever waits for it.
TELL: Final[Table] = {
    "table jobs": "GetItem PutItem UpdateItem",
    "event-bus": "PutEvents",
    "bucket/results/*": READ,
    "bucket/out/*": f"{WRITE} DeleteObject",
    "queue ingest": SEND,
    "queue webhooks": SEND,
}
# Do a job: read what it was given, and keep what came of it.
WORK: Final[Table] = {
    **TELL,
    "bucket": "ListBucket",
    "bucket/in/*": READ,
    "bucket/payloads/*": READ,
    "bucket/uploads/*": READ,
    "bucket/results/*": f"{READ} {WRITE}",
}
# Make a job of a request, or answer it.
PREDICT: Final[Table] = {
    **LOG,
    "table jobs": "GetItem PutItem",
    "table jobs/index/by_queue": "Query",
    "bucket": "ListBucket",
    "bucket/payloads/*": WRITE,
    "bucket/results/*": READ,
    "bucket/uploads/*": READ,
}
WORKER: Final[Table] = {
    **WORK,
    "tasks": "GetTaskProtection UpdateTaskProtection",
    "own index": "GetObject",
    "own weights": "GetObject",
}
START: Final[Table] = {
    **LOG,
    "images": "BatchCheckLayerAvailability BatchGetImage GetDownloadUrlForLayer",
    "*": "GetAuthorizationToken",  # takes no resource
}
EXPECTED: Final[dict[str, Table]] = {
    "model-small Predict": {**PREDICT, "queue small-lambda-jobs": COUNT_AND_SEND},
    "model-small Batch": {**LOG, **WORK, "queue small-lambda-jobs": TAKE},
    "model-both Predict": {
        **PREDICT,
        "queue both-lambda-jobs": COUNT_AND_SEND,
        "queue both-gpu-jobs": COUNT_AND_SEND,
        "worker both": WAKE,
    },
    "model-both Batch": {**LOG, **WORK, "queue both-lambda-jobs": TAKE},
    "gpu-both WorkerTaskTask": {**WORKER, "queue both-gpu-jobs": TAKE},
    "gpu-both WorkerTaskExecution": START,
    "gpu-big WorkerTaskTask": {**WORKER, "queue big-gpu-jobs": TAKE},
    "gpu-big WorkerTaskExecution": START,
    "gpu MachinesOwner": {"own machines": "PassRole"},
    "jobs Ingest": {
        **LOG,
        **WORK,
        "bucket/payloads/*": f"{READ} {WRITE}",
        "queue jobs": TAKE,
        "queue ingest": f"{TAKE} SendMessage",
        "queue small-lambda-jobs": SEND,
        "queue both-lambda-jobs": SEND,
        "queue both-gpu-jobs": SEND,
        "queue big-gpu-jobs": SEND,
        "worker both": WAKE,
        "worker big": WAKE,
    },
    "jobs Notify": {
        **LOG,
        "table jobs": "GetItem PutItem",
        "secret webhooks": "GetSecretValue",
        "queue webhooks": TAKE,
    },
    "jobs Escalate": {
        **LOG,
        **TELL,
        "queue small-lambda-jobs-dead": TAKE,
        "queue both-lambda-jobs-dead": TAKE,
        "queue both-gpu-jobs-dead": TAKE,
        "queue big-gpu-jobs-dead": TAKE,
        "queue both-gpu-jobs": SEND,
        "worker both": WAKE,
    },
    "api Control": {
        **LOG,
        **TELL,
        "table jobs/index/by_caller": "Query",
        "table jobs/index/by_queue": "Query",
        "secret webhooks": "GetSecretValue",
        "bucket": "ListBucket",
        "bucket/payloads/*": WRITE,
        "bucket/uploads/*": f"{READ} {WRITE}",
        "queue ingest": COUNT_AND_SEND,
        "queue small-lambda-jobs": COUNT_AND_SEND,
        "queue both-lambda-jobs": COUNT_AND_SEND,
        "queue both-gpu-jobs": COUNT_AND_SEND,
        "queue big-gpu-jobs": COUNT_AND_SEND,
        "worker both": WAKE,
        "worker big": WAKE,
    },
}
# The service and the name of each resource in ARNs, and what the table calls it.
NAMES: Final = (
    (r"<\w*Logs\w+>", "own log"),
    (r"<MachinesMachine\w+>", "own machines"),
    (r"dynamodb table/lab-(.+)", r"table \1"),
    (r"ecs service/lab-gpu/lab-(\w+)-gpu", r"worker \1"),
    (r"ecs task/lab-gpu/\*", "tasks"),
    (r"events event-bus/lab", "event-bus"),
    (r"s3 lab-<AWS::AccountId>-<AWS::Region>(.*)", r"bucket\1"),
    (r"s3 cdk-hnb659fds-assets-[^/]+/[0-9a-f]{64}\.json", "own index"),
    (r"s3 cdk-hnb659fds-assets-[^/]+/[0-9a-f]{64}\.onnx", "own weights"),
    (r"secretsmanager secret:lab-(\w+)-\?{6}", r"secret \1"),
    (r"sqs lab-(.+)", r"queue \1"),
    (r"ecr repository/cdk-hnb659fds-container-assets-[^/]+", "images"),
)


def named(resource: str) -> str:
    """A resource as the table calls it."""
    return next(
        (found.expand(name) for arn, name in NAMES if (found := re.fullmatch(arn, resource))),
        resource,
    )


def found(pairs: set[tuple[str, str]]) -> dict[str, set[str]]:
    """The actions of a policy by the name of the resource; each is of the resource's own
    service.
    """
    table: dict[str, set[str]] = {}
    for action, resource in pairs:
        service, _, verb = action.partition(":")
        assert " " not in resource or resource.startswith(f"{service} "), (action, resource)
        table.setdefault(named(resource), set()).add(verb)
    return table


def test_every_role_may_do_exactly_what_the_table_says(lab: Assembly) -> None:
    granted = {
        f"{stack.removeprefix('lab-')} {re.split('Identity|Role|DefaultPolicy', policy)[0]}": found(
            pairs
        )
        for stack in lab.stacks
        for policy, pairs in lab.permissions(stack).items()
    }

    assert granted == {
        role: {resource: set(verbs.split()) for resource, verbs in table.items()}
        for role, table in EXPECTED.items()
    }


def test_no_role_has_a_policy_that_is_not_in_the_templates(shop: Assembly, lab: Assembly) -> None:
    roles = [
        (name, role["Properties"])
        for assembly in (shop, lab)
        for stack in assembly.stacks
        for name, role in assembly.resources(stack, "AWS::IAM::Role").items()
    ]

    managed = {
        name.rstrip("0123456789ABCDEF") for name, role in roles if role.get("ManagedPolicyArns")
    }

    assert not [name for name, role in roles if role.get("Policies")]
    assert managed == {"GatewayApiCloudWatchRole", "MachinesMachine", "MachinesOwner"}
