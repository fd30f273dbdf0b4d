"""The deployed service is deployed again: as it is, with another memory, with a model less, with a model more."""

import re

import httpx
import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import CONFIG, SERVICE

STACKS = ["e2e-api", "e2e-data", "e2e-jobs", "e2e-model-endless", "e2e-model-linear", "e2e-model-mlp"]
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


def test_a_model_leaves_the_service_in_one_deployment(cloud: Cloud) -> None:
    without = re.sub(r"\[models\.linear\].*?\n\n", "", CONFIG, flags=re.DOTALL)
    cloud.config.write_text(without)

    cloud.deploy()

    api = cloud.api(SERVICE)
    with httpx.Client(base_url=api.url, headers=api.headers, timeout=60) as client:
        listed = client.get("/v2/models").json()
        gone = client.get("/v2/models/linear").status_code
    assert ("mlp" in str(listed), "linear" in str(listed), gone) == (True, False, 404)


def test_the_stack_of_a_model_that_left_can_be_deleted(cloud: Cloud) -> None:
    functions = cloud.client("lambda")

    cloud.client("cloudformation").delete_stack(StackName="e2e-model-linear")

    assert "e2e-model-linear" not in cloud.stacks()
    with pytest.raises(functions.exceptions.ResourceNotFoundException):
        functions.get_function(FunctionName="e2e-linear-predict")


def test_a_model_comes_to_the_service_in_one_deployment(cloud: Cloud) -> None:
    cloud.config.write_text(CONFIG)

    cloud.deploy()

    api = cloud.api(SERVICE)
    sent = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0]}]}
    answer = httpx.post(f"{api.url}/v2/models/linear/infer", json=sent, headers=api.headers, timeout=60)
    assert (answer.status_code, answer.json()["model_version"]) == (200, "2")
    assert cloud.stacks() == sorted([*STACKS, "CDKToolkit"])
