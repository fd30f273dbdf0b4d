"""What the world hears when a job has ended: webhook, event, notice and reply, each once more until
it arrived.
"""

import json
from typing import Any

import boto3
import pytest

from handlers import batch, notify
from onnxlift_runtime.errors import WebhookFailed
from onnxlift_runtime.jobs import webhooks
from onnxlift_runtime.jobs.webhooks import Webhook, caller_secret, encode_secret
from onnxlift_runtime.names import WEBHOOK_TRIES, webhook_queue_name
from tests.unit.handlers.conftest import ME, SERVICE, Deployed, error_of

HOOK = "https://receiver.example/hook"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Webhook, list[bytes]]]:
    """What would have left for receivers."""
    gone: list[tuple[Webhook, list[bytes]]] = []
    monkeypatch.setattr(
        webhooks, "send", lambda webhook, keys, private: gone.append((webhook, list(keys)))
    )
    return gone


def finish(deployed: Deployed, webhook: str = "") -> str:
    job_id = deployed.submit(1, x_onnxlift_webhook=webhook)
    deployed.work()
    return job_id


def deliver(deployed: Deployed, tries: int = 1) -> Any:
    records = deployed.receive(webhook_queue_name(SERVICE))
    for record in records:
        record["attributes"]["ApproximateReceiveCount"] = str(tries)
    return notify.handler({"Records": records}, None)["batchItemFailures"]


def test_a_finished_job_calls_its_webhook(
    deployed: Deployed, sent: list[tuple[Webhook, list[bytes]]]
) -> None:
    job_id = finish(deployed, HOOK)

    failures = deliver(deployed)

    ((webhook, keys),) = sent
    document = json.loads(webhook.body)
    assert failures == []
    assert (webhook.url, document["type"], document["data"]["id"]) == (
        HOOK,
        "inference.job.completed",
        job_id,
    )
    assert document["data"]["status"] == "SUCCEEDED"
    assert keys == [caller_secret("old", ME)]
    assert set(deployed.show(job_id)["webhook"]) == {"url", "tries", "delivered_ms"}


def test_a_webhook_that_would_never_be_delivered_is_refused_with_the_request(
    deployed: Deployed,
) -> None:
    answer = deployed.infer(x_onnxlift_webhook="http://receiver.example/hook")

    assert answer.status == 400
    assert error_of(answer).endswith("this service delivers to https")


def test_a_job_without_a_webhook_calls_nobody(
    deployed: Deployed, sent: list[tuple[Webhook, list[bytes]]]
) -> None:
    finish(deployed)

    assert deliver(deployed) == []
    assert sent == []


def test_a_webhook_that_fails_comes_again_and_the_job_says_why(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_kinds: object) -> None:
        raise WebhookFailed("receiver.example answered 500, expected 2xx")

    monkeypatch.setattr(webhooks, "send", refuse)
    job_id = finish(deployed, HOOK)

    assert len(deliver(deployed)) == 1
    told = deployed.show(job_id)["webhook"]
    assert told == {"url": HOOK, "tries": 1, "error": "receiver.example answered 500, expected 2xx"}


def test_a_webhook_given_up_is_left_to_the_dead_letters_at_once(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_args: object, **_kinds: object) -> None:
        raise WebhookFailed("no")

    monkeypatch.setattr(webhooks, "send", refuse)
    finish(deployed, HOOK)

    assert len(deliver(deployed, tries=WEBHOOK_TRIES)) == 1
    assert "webhook given up" in capsys.readouterr().out
    assert len(deployed.receive(webhook_queue_name(SERVICE))) == 1


def test_a_retried_job_does_not_tell_its_first_end(
    deployed: Deployed, sent: list[tuple[Webhook, list[bytes]]]
) -> None:
    job_id = deployed.submit(x_onnxlift_webhook=HOOK)
    deployed.call("POST", f"/v2/jobs/{job_id}/cancel")
    deployed.call("POST", f"/v2/jobs/{job_id}/retry")

    assert deliver(deployed) == []
    assert sent == []


def test_each_end_has_an_id_of_its_own_and_its_repetitions_the_same(
    deployed: Deployed, sent: list[tuple[Webhook, list[bytes]]]
) -> None:
    job_id = finish(deployed, HOOK)
    batch.worker().work([job_id], 1_000)

    deliver(deployed)

    assert len(sent) == 2
    assert len({webhook.id for webhook, _ in sent}) == 1


def test_a_rotated_secret_signs_beside_the_new_one(
    deployed: Deployed, sent: list[tuple[Webhook, list[bytes]]]
) -> None:
    before = json.loads(deployed.call("GET", "/v2/webhooks/secret").body)["secret"]
    boto3.client("secretsmanager").put_secret_value(SecretId="webhooks", SecretString="new")
    finish(deployed, HOOK)

    deliver(deployed)

    after = json.loads(deployed.call("GET", "/v2/webhooks/secret").body)["secret"]
    assert [encode_secret(key) for key in sent[0][1]] == [after, before]


@pytest.mark.parametrize("body", ["", "{}", '{"job": "none"}'])
def test_a_message_without_a_job_is_done_with(deployed: Deployed, body: str) -> None:
    record = {"messageId": "m", "body": body, "attributes": {"ApproximateReceiveCount": "1"}}

    assert notify.handler({"Records": [record]}, None) == {"batchItemFailures": []}


def test_a_finished_job_is_an_event_and_a_notice_in_sagemakers_form(deployed: Deployed) -> None:
    sqs, sns, events = (boto3.client(name) for name in ("sqs", "sns", "events"))
    url = sqs.create_queue(QueueName="listener")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    sns.subscribe(TopicArn=notify.process().settings.topic, Protocol="sqs", Endpoint=arn)
    pattern = json.dumps({"detail-type": ["inference.job.completed"]})
    events.put_rule(Name="all", EventBusName="bus", EventPattern=pattern)
    events.put_targets(Rule="all", EventBusName="bus", Targets=[{"Id": "1", "Arn": arn}])

    job_id = finish(deployed)

    told = [json.loads(record["body"]) for record in deployed.receive("listener")]
    event = next(item["detail"] for item in told if "detail" in item)
    notice = json.loads(next(item["Message"] for item in told if "Message" in item))
    assert (event["job"]["id"], event["job"]["status"], event["caller"]) == (
        job_id,
        "SUCCEEDED",
        ME,
    )
    assert (notice["inferenceId"], notice["invocationStatus"]) == (job_id, "Completed")
    assert notice["eventSource"] == "aws:sagemaker"
    place = notice["responseParameters"]["outputLocation"].removeprefix("s3://data/")
    assert json.loads(deployed.s3.get_object(Bucket="data", Key=place)["Body"].read())["outputs"][
        0
    ]["data"] == [1, 1]
