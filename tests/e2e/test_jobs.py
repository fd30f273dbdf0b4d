"""Jobs of the deployed service: by the API, by the bucket, by the queue, and one that no function
can finish.
"""

import io
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from onnxlift.topology import MAX_RECEIVES
from onnxlift_runtime.jobs.job import MAX_ATTEMPTS
from onnxlift_runtime.names import dead_letter_name
from tests.e2e.cloud import Cloud
from tests.e2e.emulator import ACCOUNT, REGION
from tests.support.errors import missing
from tests.support.targets import Target

BUCKET = f"e2e-{ACCOUNT}-{REGION}"
ROW = [[1.0, 2.0, 3.0, 4.0]]
WITHIN_S = 240
INGEST = "e2e-ingest"
ENDLESS = "e2e-endless-lambda-jobs"


def eventually(look: Callable[[], Any]) -> Any:
    """What ``look`` finds, as soon as it finds something."""
    deadline = time.monotonic() + WITHIN_S
    while not (found := look()):
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.5)
    return found


def submit(api: Target, model: str, name: str, datatype: str, data: list[Any]) -> str:
    """Where the job is that the request became."""
    tensor = {"name": name, "datatype": datatype, "shape": list(np.shape(data)), "data": data}
    sent = {"inputs": [tensor]}
    headers = {**api.headers, "Prefer": "respond-async"}
    answer = httpx.post(
        f"{api.url}/v2/models/{model}/infer", json=sent, headers=headers, timeout=60
    )
    assert answer.status_code == 202, answer.text
    return str(answer.headers["Location"])


def ended(api: Target, job: str) -> dict[str, Any]:
    """The record of a job that has ended."""

    def look() -> Any:
        record = httpx.get(api.url + job, headers=api.headers, timeout=60).json()
        return record if record["status"] not in ("QUEUED", "RUNNING") else None

    record: dict[str, Any] = eventually(look)
    return record


@pytest.fixture
def at_once(api: Target) -> list[float]:
    """The answer to ``ROW`` within a request."""
    sent = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROW}]}
    answer = httpx.post(
        f"{api.url}/v2/models/linear/infer", json=sent, headers=api.headers, timeout=60
    )
    assert answer.status_code == 200, answer.text
    data: list[float] = answer.json()["outputs"][0]["data"]
    return data


def test_a_job_gives_what_the_same_request_gives_at_once(api: Target, at_once: list[float]) -> None:
    job = submit(api, "linear", "x", "FP32", ROW)

    record = ended(api, job)

    result = httpx.get(f"{api.url}{job}/result", headers=api.headers, timeout=60).json()
    assert (record["status"], record["tier"], record["attempts"]) == ("SUCCEEDED", "lambda", 1)
    assert result["outputs"][0]["data"] == pytest.approx(at_once)


def test_a_dropped_object_is_answered_below_out(cloud: Cloud, at_once: list[float]) -> None:
    s3, file = cloud.client("s3"), io.BytesIO()
    np.save(file, np.array(ROW, np.float32))

    s3.put_object(Bucket=BUCKET, Key="in/linear/a folder/row.npy", Body=file.getvalue())

    (key,) = eventually(
        lambda: [
            item["Key"]
            for item in s3.list_objects_v2(Bucket=BUCKET, Prefix="out/").get("Contents", ())
        ]
    )
    answer = np.load(io.BytesIO(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()))
    assert key == "out/linear/a folder/row.npy.npz"
    assert answer["y"][0].tolist() == pytest.approx(at_once)


def test_a_malformed_message_is_told_to_its_sender_and_leaves_the_one_beside_it_alone(
    cloud: Cloud,
) -> None:
    sqs = cloud.client("sqs")
    mine = sqs.create_queue(QueueName="mine")["QueueUrl"]
    good = {
        "model": "linear",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROW}],
    }
    bodies = [{**good, "reply_to": mine}, {**good, "model": "absent", "reply_to": mine}]

    sqs.send_message_batch(
        QueueUrl=cloud.output("e2e", "JobsQueue").replace(
            "https://sqs.us-east-1.amazonaws.com", cloud.url
        ),
        Entries=[
            {"Id": str(place), "MessageBody": json.dumps(body)} for place, body in enumerate(bodies)
        ],
    )

    told: list[str] = []
    while len(told) < len(bodies):
        received = eventually(
            lambda: sqs.receive_message(QueueUrl=mine, WaitTimeSeconds=5).get("Messages")
        )
        told += [json.loads(message["Body"])["job"]["status"] for message in received]
        for message in received:
            sqs.delete_message(QueueUrl=mine, ReceiptHandle=message["ReceiptHandle"])
    assert sorted(told) == ["FAILED", "SUCCEEDED"]


def waiting(cloud: Cloud, queue: str) -> int:
    """The messages that a queue holds, whether somebody has them in hand or not."""
    sqs = cloud.client("sqs")
    counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    return sum(
        map(
            int,
            sqs.get_queue_attributes(QueueUrl=url, AttributeNames=counts)["Attributes"].values(),
        )
    )


def test_a_job_that_no_function_can_finish_has_failed_after_its_attempts(
    cloud: Cloud, api: Target
) -> None:
    job = submit(api, "endless", "x", "INT64", [10**15])

    record = ended(api, job)

    assert (record["status"], record["attempts"]) == ("FAILED", MAX_ATTEMPTS)
    assert missing(record["error"], "died", "3 times") == []
    eventually(lambda: waiting(cloud, ENDLESS) == 0)
    assert waiting(cloud, dead_letter_name(ENDLESS)) == 0


def test_the_dead_letter_of_a_job_ends_the_job(cloud: Cloud, api: Target) -> None:
    sqs = cloud.client("sqs")
    queue, dead = (
        sqs.get_queue_url(QueueName=name)["QueueUrl"]
        for name in (ENDLESS, dead_letter_name(ENDLESS))
    )
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    # A job has fewer attempts than its message has receives, so that none gets here while all goes
    # well.
    policy = {"deadLetterTargetArn": arn, "maxReceiveCount": 1}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": json.dumps(policy)})

    record = ended(api, submit(api, "endless", "x", "INT64", [10**15]))

    assert record["status"] == "FAILED"
    assert missing(record["error"], "1 attempts") == []
    eventually(lambda: waiting(cloud, dead_letter_name(ENDLESS)) == 0)


def test_a_poison_message_lies_in_the_dead_letter_queue_after_its_receives(cloud: Cloud) -> None:
    sqs = cloud.client("sqs")
    queue = sqs.get_queue_url(QueueName=INGEST)["QueueUrl"]
    # It would come again every half an hour: six times as long as the function may run.
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "2"})

    sqs.send_message(QueueUrl=queue, MessageBody="poison")

    eventually(lambda: waiting(cloud, dead_letter_name(INGEST)) == 1)
    dead = sqs.get_queue_url(QueueName=dead_letter_name(INGEST))["QueueUrl"]
    (message,) = sqs.receive_message(QueueUrl=dead, AttributeNames=["All"])["Messages"]
    assert message["Body"] == "poison"
    assert int(message["Attributes"]["ApproximateReceiveCount"]) > MAX_RECEIVES
    assert waiting(cloud, INGEST) == 0
