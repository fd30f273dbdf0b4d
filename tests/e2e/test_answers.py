"""Requests to the deployed API: through API Gateway and the alias to the image."""

import os
import subprocess
import sys

import httpx
import numpy as np
import onnxruntime as ort
import pytest

from tests.e2e.cloud import ROOT, Cloud
from tests.support import builders
from tests.support.targets import DEPLOYED_KEY, DEPLOYED_MODELS, DEPLOYED_URL, Target

ROW = [0.1 * number for number in range(16)]
REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 16], "data": ROW}]}
WITHIN_S = 60


def expected() -> list[float]:
    """What the model itself answers."""
    session = ort.InferenceSession(builders.mlp().SerializeToString())
    (scores,) = session.run(None, {"x": np.array([ROW], np.float32)})
    return [float(score) for score in scores[0]]


def test_both_protocols_give_the_models_own_answer(api: Target) -> None:
    with httpx.Client(base_url=api.url, headers=api.headers, timeout=WITHIN_S) as client:
        inferred = client.post("/v2/models/mlp/infer", json=REQUEST)
        predicted = client.post("/v1/models/mlp:predict", json={"instances": [ROW]})

    assert (inferred.status_code, predicted.status_code) == (200, 200), inferred.text
    assert inferred.json()["outputs"][0]["data"] == pytest.approx(expected(), rel=1e-4)
    assert predicted.json()["predictions"][0] == pytest.approx(expected(), rel=1e-4)
    assert inferred.headers["X-Onnxlift-Route"].startswith("lambda")


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "a-guess"}], ids=["without", "wrong"])
def test_nobody_is_answered_without_the_key(api: Target, headers: dict[str, str]) -> None:
    refused = httpx.post(
        f"{api.url}/v2/models/mlp/infer", json=REQUEST, headers=headers, timeout=WITHIN_S
    )

    assert refused.status_code == 403


def test_the_alias_that_the_api_calls_is_a_published_version(cloud: Cloud) -> None:
    alias = cloud.client("lambda").get_alias(FunctionName="e2e-mlp-predict", Name="live")

    assert alias["FunctionVersion"].isdigit()


def test_the_same_tritonclient_tests_pass_as_on_this_machine(api: Target) -> None:
    named = {
        DEPLOYED_URL: api.url,
        DEPLOYED_KEY: api.headers["x-api-key"],
        DEPLOYED_MODELS: ",".join(api.models),
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n0",
        "-k",
        "deployed",
        "tests/integration/test_tritonclient.py",
    ]

    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **named}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
