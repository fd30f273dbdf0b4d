"""What the deployed functions measure of the jobs that pass through them."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from handlers import escalate, notify
from onnxlift_runtime.errors import WebhookFailed
from onnxlift_runtime.jobs import webhooks
from onnxlift_runtime.jobs.webhooks import Webhook
from onnxlift_runtime.names import dead_letter_name, queue_name, webhook_queue_name
from tests.unit.handlers.conftest import CONTEXT, MODEL, SERVICE, Deployed, _forget

Measured = Callable[[], dict[str, list[float]]]


@pytest.fixture
def measured(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Measured:
    """Every value that was measured since the last call, by metric; the functions start anew and
    measure.
    """
    monkeypatch.setenv("ONNXLIFT_METRICS", "true")
    _forget()

    def read() -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for line in map(json.loads, capsys.readouterr().out.splitlines()):
            for told in line["_aws"]["CloudWatchMetrics"] if "_aws" in line else ():
                assert line["service"] == SERVICE
                for metric in told["Metrics"]:
                    found.setdefault(metric["Name"], []).extend(line[metric["Name"]])
        return found

    return read


def test_jobs_are_measured_from_their_coming_to_their_end(
    deployed: Deployed, measured: Measured
) -> None:
    for number in range(3):
        deployed.submit(number)
    submitted = measured()
    deployed.work()

    worked = measured()
    assert submitted == {"jobs_submitted": [1] * 3}
    assert (worked["jobs_succeeded"], worked["attempts"], worked["jobs_together"]) == (
        [1] * 3,
        [1] * 3,
        [3],
    )
    assert (len(worked["queue_ms"]), len(worked["run_ms"]), worked["cold_starts"]) == (3, 3, [1])


def test_a_message_that_comes_twice_is_measured_once(
    deployed: Deployed, measured: Measured
) -> None:
    job_id = deployed.submit()
    deployed.work()
    measured()
    deployed.sqs.send_message(
        QueueUrl=deployed.sqs.get_queue_url(QueueName=queue_name(SERVICE, MODEL, "lambda"))[
            "QueueUrl"
        ],
        MessageBody=json.dumps({"job": job_id}),
    )

    deployed.work()

    assert measured() == {}


def test_a_dead_letter_is_measured_with_the_job_that_failed(
    deployed: Deployed, measured: Measured
) -> None:
    job_id = deployed.submit()
    measured()
    queue = dead_letter_name(queue_name(SERVICE, MODEL, "lambda"))
    letter: dict[str, Any] = {
        "messageId": "m",
        "body": json.dumps({"job": job_id}),
        "eventSourceARN": f"arn:aws:sqs:eu-central-1:123456789012:{queue}",
    }

    escalate.handler({"Records": [letter]}, CONTEXT)

    assert measured() == {"cold_starts": [1], "jobs_failed": [1], "dead_letters_failed": [1]}


def test_each_try_of_a_webhook_is_measured(
    deployed: Deployed, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([WebhookFailed("receiver.example answered 500"), None])

    def send(_webhook: Webhook, _keys: object, private: bool) -> None:
        if error := next(answers):
            raise error

    monkeypatch.setattr(webhooks, "send", send)
    deployed.submit(1, x_onnxlift_webhook="https://receiver.example/hook")
    deployed.work()
    records = deployed.receive(webhook_queue_name(SERVICE))
    measured()

    told = []
    for _ in range(2):
        notify.handler({"Records": records}, None)
        told.append(measured())

    assert told == [{"cold_starts": [1], "webhooks_failed": [1]}, {"webhooks_delivered": [1]}]


def test_nothing_is_measured_unless_it_is_asked_for(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed.submit()
    deployed.work()

    assert "_aws" not in capsys.readouterr().out
