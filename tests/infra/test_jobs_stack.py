"""How jobs come in, and what each function may do with them."""

import json

import pytest

from onnxlift_runtime.names import WEBHOOK_TRIES
from tests.infra.assembly import Assembly, flat

JOBS, MODEL, API = "shop-jobs", "shop-model-digits", "shop-api"
BUCKET = "s3 shop-<AWS::AccountId>-<AWS::Region>"
TABLE = "dynamodb table/shop-jobs"
SECRET = "secretsmanager secret:shop-webhooks-??????"
QUEUES = [
    pytest.param(JOBS, "shop-jobs", 300, id="public"),
    pytest.param(JOBS, "shop-ingest", 300, id="ingest"),
    pytest.param(JOBS, "shop-webhooks", 60, id="webhooks"),
    pytest.param(MODEL, "shop-digits-lambda-jobs", 120, id="model"),
]
CONSUME = (
    "ReceiveMessage",
    "DeleteMessage",
    "ChangeMessageVisibility",
    "GetQueueAttributes",
    "GetQueueUrl",
)


def on(service: str, resource: str, *actions: str) -> set[tuple[str, str]]:
    return {(f"{service}:{action}", resource) for action in actions}


READ = ("GetObject", "GetObjectVersion")
WRITE = ("PutObject", "AbortMultipartUpload")
TELLING = (
    on("dynamodb", TABLE, "GetItem", "PutItem", "UpdateItem")
    | on("events", "events event-bus/shop", "PutEvents")
    | on("s3", f"{BUCKET}/results/*", *READ)
    | on("s3", f"{BUCKET}/out/*", *WRITE, "DeleteObject")
    | on("sqs", "sqs shop-ingest", "SendMessage", "GetQueueUrl")
    | on("sqs", "sqs shop-webhooks", "SendMessage", "GetQueueUrl")
    | on("sqs", "sqs answers", "SendMessage", "GetQueueUrl")
    | on("sns", "sns shop-jobs", "Publish")
    | on("s3", f"{BUCKET}/results/*", *WRITE)
)


def jobs_of(allowed: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Everything but a function's own log."""
    logs = {pair for pair in allowed if pair[0].startswith("logs:")}
    assert {action for action, _ in logs} == {"logs:CreateLogStream", "logs:PutLogEvents"}
    return allowed - logs


def sending(*queues: str) -> set[tuple[str, str]]:
    return {
        pair for queue in queues for pair in on("sqs", f"sqs {queue}", "SendMessage", "GetQueueUrl")
    }


@pytest.mark.parametrize(("stack", "name", "timeout_s"), QUEUES)
def test_a_message_is_tried_a_few_times_and_then_kept_for_two_weeks(
    shop: Assembly, stack: str, name: str, timeout_s: int
) -> None:
    queue = shop.having(stack, "AWS::SQS::Queue", "QueueName", name)
    dead = shop.having(stack, "AWS::SQS::Queue", "QueueName", f"{name}-dead")

    redrive = queue["RedrivePolicy"]
    target = shop.template(stack)["Resources"][redrive["deadLetterTargetArn"]["Fn::GetAtt"][0]][
        "Properties"
    ]

    assert redrive["maxReceiveCount"] == (WEBHOOK_TRIES if name == "shop-webhooks" else 5)
    assert target == dead
    assert dead["MessageRetentionPeriod"] == 14 * 24 * 3600
    assert dead["RedriveAllowPolicy"]["redrivePermission"] == "byQueue"
    assert [
        flat(arn).rpartition(":")[2] for arn in dead["RedriveAllowPolicy"]["sourceQueueArns"]
    ] == [name]


@pytest.mark.parametrize(("stack", "name", "timeout_s"), QUEUES)
def test_a_message_stays_hidden_six_times_as_long_as_its_function_may_run(
    shop: Assembly, stack: str, name: str, timeout_s: int
) -> None:
    queue = shop.having(stack, "AWS::SQS::Queue", "QueueName", name)

    assert queue["VisibilityTimeout"] == 6 * timeout_s


@pytest.mark.parametrize("stack", [JOBS, MODEL])
def test_queues_are_encrypted_and_reached_by_tls_alone(shop: Assembly, stack: str) -> None:
    queues = shop.resources(stack, "AWS::SQS::Queue")
    policies = shop.resources(stack, "AWS::SQS::QueuePolicy").values()

    denied = {
        queue["Ref"]
        for policy in policies
        for queue in policy["Properties"]["Queues"]
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    }

    assert all(queue["Properties"]["SqsManagedSseEnabled"] for queue in queues.values())
    assert denied == set(queues)


@pytest.mark.parametrize(
    ("stack", "name", "size", "at_once"),
    [(MODEL, "shop-digits-lambda-jobs", 4, 3), (JOBS, "shop-jobs", 10, 10)],
)
def test_a_queue_feeds_its_function_in_bounded_parallel(
    shop: Assembly, stack: str, name: str, size: int, at_once: int
) -> None:
    queues = shop.resources(stack, "AWS::SQS::Queue").items()
    (logical,) = (found for found, queue in queues if queue["Properties"]["QueueName"] == name)

    feed = shop.having(stack, "AWS::Lambda::EventSourceMapping", "EventSourceArn", f"<{logical}>")

    assert (feed["BatchSize"], feed["ScalingConfig"]["MaximumConcurrency"]) == (size, at_once)
    assert feed["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert json.dumps(feed["FunctionName"]).endswith('":live"]]}')


def test_objects_dropped_below_in_go_to_the_ingest_queue_and_no_others(shop: Assembly) -> None:
    rule = shop.only(JOBS, "AWS::Events::Rule")
    (target,) = rule["Targets"]

    queue = shop.template(JOBS)["Resources"][target["Arn"]["Fn::GetAtt"][0]]["Properties"]

    assert rule["EventPattern"]["detail"]["object"] == {"key": [{"prefix": "in/"}]}
    assert [flat(name) for name in rule["EventPattern"]["detail"]["bucket"]["name"]] == [
        "shop-<AWS::AccountId>-<AWS::Region>"
    ]
    assert queue["QueueName"] == "shop-ingest"


def test_only_that_rule_may_write_to_the_ingest_queue_from_outside(shop: Assembly) -> None:
    policies = shop.resources(JOBS, "AWS::SQS::QueuePolicy").values()
    statements = [
        item for policy in policies for item in policy["Properties"]["PolicyDocument"]["Statement"]
    ]

    (allowing,) = (statement for statement in statements if statement["Effect"] == "Allow")

    assert allowing["Principal"] == {"Service": "events.amazonaws.com"}
    assert (
        flat(allowing["Condition"]["ArnEquals"]["aws:SourceArn"])
        == f"<{shop.name(JOBS, 'AWS::Events::Rule')}>"
    )


def test_predict_may_submit_jobs_of_its_model_and_read_their_results(shop: Assembly) -> None:
    own = "sqs shop-digits-lambda-jobs"

    assert jobs_of(shop.allowed(MODEL, "Predict")) == (
        on("dynamodb", TABLE, "GetItem", "PutItem")
        | on("dynamodb", f"{TABLE}/index/by_queue", "Query")
        | on("s3", f"{BUCKET}/results/*", *READ)
        | on("s3", f"{BUCKET}/uploads/*", *READ)
        | on("s3", f"{BUCKET}/payloads/*", *WRITE)
        | on("s3", BUCKET, "ListBucket")
        | on("sqs", own, "SendMessage", "GetQueueUrl", "GetQueueAttributes")
    )


def test_batch_may_work_on_the_queue_of_its_model_alone(shop: Assembly) -> None:
    assert jobs_of(shop.allowed(MODEL, "Batch")) == (
        TELLING
        | {
            pair
            for prefix in ("in", "payloads", "uploads")
            for pair in on("s3", f"{BUCKET}/{prefix}/*", *READ)
        }
        | on("s3", f"{BUCKET}/results/*", *WRITE)
        | on("s3", BUCKET, "ListBucket")
        | on("sqs", "sqs shop-digits-lambda-jobs", *CONSUME)
    )


def test_ingest_may_make_jobs_of_every_model(shop: Assembly) -> None:
    assert jobs_of(shop.allowed(JOBS, "Ingest")) == (
        TELLING
        | {
            pair
            for prefix in ("in", "payloads", "uploads")
            for pair in on("s3", f"{BUCKET}/{prefix}/*", *READ)
        }
        | on("s3", f"{BUCKET}/results/*", *WRITE)
        | on("s3", f"{BUCKET}/payloads/*", *WRITE)
        | on("s3", BUCKET, "ListBucket")
        | sending("shop-digits-lambda-jobs", "shop-pair-lambda-jobs", "shop-ingest")
        | on("sqs", "sqs shop-jobs", *CONSUME)
        | on("sqs", "sqs shop-ingest", *CONSUME)
    )


def test_control_may_list_jobs_and_queue_them_again(shop: Assembly) -> None:
    queues = ("shop-digits-lambda-jobs", "shop-pair-lambda-jobs", "shop-ingest")

    assert jobs_of(shop.allowed(API, "Control")) == (
        TELLING
        | on("secretsmanager", SECRET, "GetSecretValue")
        | {
            pair
            for index in ("by_caller", "by_queue")
            for pair in on("dynamodb", f"{TABLE}/index/{index}", "Query")
        }
        | on("s3", f"{BUCKET}/uploads/*", *READ, *WRITE)
        | on("s3", f"{BUCKET}/payloads/*", *WRITE)
        | on("s3", BUCKET, "ListBucket")
        | sending(*queues)
        | {pair for queue in queues for pair in on("sqs", f"sqs {queue}", "GetQueueAttributes")}
    )


def test_notify_may_read_jobs_and_the_secret(shop: Assembly) -> None:
    assert jobs_of(shop.allowed(JOBS, "Notify")) == (
        on("dynamodb", TABLE, "GetItem", "PutItem")
        | on("secretsmanager", SECRET, "GetSecretValue")
        | on("sqs", "sqs shop-webhooks", *CONSUME)
    )


def test_no_role_has_a_wildcard_for_an_action_or_for_a_whole_service(shop: Assembly) -> None:
    pairs = {
        pair
        for stack, function in (
            (MODEL, "Predict"),
            (MODEL, "Batch"),
            (JOBS, "Ingest"),
            (JOBS, "Notify"),
            (API, "Control"),
        )
        for pair in shop.allowed(stack, function)
    }

    assert not [action for action, _ in pairs if "*" in action]
    assert not [
        resource for _, resource in pairs if resource == "*" or resource.endswith((":*", " *"))
    ]
