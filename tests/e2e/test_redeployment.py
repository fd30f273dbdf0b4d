"""The deployed service is deployed again: as it is, with another memory, with a model less, with a
model more.
"""

import re

import httpx

from onnxlift_runtime.names import dead_letter_name
from tests.e2e.cloud import Cloud
from tests.e2e.conftest import CONFIG, SERVICE

STACKS = ["e2e", "e2e-data"]
LINEAR = '[models.linear]\nsource = "linear.onnx"\nversion = 2\n'


def memory_mb(cloud: Cloud, model: str) -> int:
    """What the function that answers is given."""
    found = cloud.client("lambda").get_function_configuration(FunctionName=f"e2e-{model}-predict")
    return int(found["MemorySize"])


def test_a_second_deployment_changes_nothing(cloud: Cloud) -> None:
    told = cloud.deploy()

    assert sorted(re.findall(r"✅ +(\S+) \(no changes\)", told)) == STACKS


def test_a_changed_memory_reaches_the_function_and_rebuilds_no_image(cloud: Cloud) -> None:
    before = memory_mb(cloud, "linear")
    cloud.config.write_text(CONFIG.replace(LINEAR, LINEAR + "placement.memory_mb = 3008\n"))

    told = cloud.deploy()

    assert (before, memory_mb(cloud, "linear")) == (1_769, 3_008)
    assert "AssetImage" not in told


def test_the_version_before_is_live_again_without_a_deployment(cloud: Cloud) -> None:
    client, name = cloud.client("lambda"), "e2e-linear-predict"
    live = int(client.get_alias(FunctionName=name, Name="live")["FunctionVersion"])

    client.update_alias(FunctionName=name, Name="live", FunctionVersion=str(live - 1))

    found = client.get_function_configuration(FunctionName=name, Qualifier="live")
    assert (found["Version"], found["MemorySize"]) == (str(live - 1), 1_769)


def functions(cloud: Cloud) -> set[str]:
    """The functions that answer for a model."""
    listed = cloud.client("lambda").list_functions()["Functions"]
    return {name for each in listed if (name := str(each["FunctionName"])).endswith("-predict")}


def job_queues(cloud: Cloud) -> set[str]:
    """The queues of the models' jobs, and of their dead letters."""
    urls = cloud.client("sqs").list_queues(QueueNamePrefix="e2e-")["QueueUrls"]
    return {name for url in urls if "-lambda-jobs" in (name := str(url).rpartition("/")[2])}


def test_a_model_leaves_the_service_and_the_account_in_one_deployment(cloud: Cloud) -> None:
    before = functions(cloud), job_queues(cloud), set(cloud.stacks(nested=True))
    without = re.sub(r"\[models\.linear\].*?\n\n", "", CONFIG, flags=re.DOTALL)
    cloud.config.write_text(without)

    cloud.deploy()

    api = cloud.api(SERVICE)
    with httpx.Client(base_url=api.url, headers=api.headers, timeout=60) as client:
        listed = client.get("/v2/models").json()
        gone = client.get("/v2/models/linear").status_code
    assert ("mlp" in str(listed), "linear" in str(listed), gone) == (True, False, 404)
    assert before[0] - functions(cloud) == {"e2e-linear-predict"}
    assert before[1] - job_queues(cloud) == {
        "e2e-linear-lambda-jobs",
        dead_letter_name("e2e-linear-lambda-jobs"),
    }
    (stack,) = before[2] - set(cloud.stacks(nested=True))
    assert stack.startswith("e2e-modellinear")


def test_a_model_comes_to_the_service_in_one_deployment(cloud: Cloud) -> None:
    cloud.config.write_text(CONFIG)

    cloud.deploy()

    api = cloud.api(SERVICE)
    sent = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0]}]
    }
    answer = httpx.post(
        f"{api.url}/v2/models/linear/infer", json=sent, headers=api.headers, timeout=60
    )
    assert (answer.status_code, answer.json()["model_version"]) == (200, "2")
    assert cloud.stacks() == sorted([*STACKS, "CDKToolkit"])
