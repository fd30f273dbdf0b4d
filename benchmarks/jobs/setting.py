"""What the run works with: a model whose answers are known, its configuration, and the inputs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from onnxlift.local.process import RunningService
from onnxlift.local.resources import client
from onnxlift_runtime.tensors import Array
from tests import builders

SERVICE: Final = "chaos"
MODEL: Final = "linear"
BUCKET: Final = f"{SERVICE}-123456789012-us-east-1"
VISIBILITY_S: Final = 6
CONFIG: Final = f"""
service = "{SERVICE}"

[models.{MODEL}]
source = "{MODEL}.onnx"
[models.{MODEL}.quality]
samples = "heldout.npz"

[jobs]
timeout_s = 2
batch_size = 4
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """The configuration, and for each job its input FP32 [1, 4] and what the model must answer, FP32 [1, n]."""

    config_path: Path
    inputs: Array
    expected: Array


def prepare(folder: Path, jobs: int, seed: int) -> Setting:
    """Write model and configuration, and have onnxruntime say what each input must give."""
    import onnxruntime

    manifest = builders.write_artifact(folder / "artifacts", builders.linear(), name=MODEL)
    config_path = folder / "onnxlift.toml"
    config_path.write_text(CONFIG)
    inputs = np.random.default_rng(seed).normal(size=(jobs, 1, 4)).astype(np.float32)
    path = folder / "artifacts" / MODEL / manifest.version / "model.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answered = [session.run(None, {manifest.inputs[0].name: row})[0] for row in inputs]
    return Setting(config_path, inputs, np.stack(answered))


def aws(service: RunningService, name: str) -> Any:
    """A boto3 client of what a running service keeps its jobs in."""
    (line,) = (line for line in service.lines if line.startswith("AWS endpoint "))
    return client(name, line.split()[2])


def shorten_visibility(_setting: Setting, service: RunningService) -> None:
    """Let messages of dead workers come again after seconds, and as often as workers die."""
    sqs = aws(service, "sqs")
    for url in sqs.list_queues()["QueueUrls"]:
        if not url.endswith("-dead"):
            attributes = {"VisibilityTimeout": str(VISIBILITY_S), "RedrivePolicy": ""}
            sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
