"""What the run works with: a model whose answers are known, its configuration, and the inputs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from onnxlift.local.account import ACCOUNT, REGION
from onnxlift.local.moto.resources import client
from onnxlift.local.process import RunningService
from onnxlift_runtime.names import bucket_name
from onnxlift_runtime.tensors.arrays import Array
from tests.support import builders

SERVICE: Final = "chaos"
MODEL: Final = "linear"
BUCKET: Final = bucket_name(SERVICE, ACCOUNT, REGION)
# Longer than a lease, so that the first message that comes again finds the job free.
VISIBILITY_S: Final = 8
OUTPUTS: Final = 128
WIDE_EVERY: Final = 20
WIDE_ROWS: Final = 200  # 200 x 128 FP32 are 100 KB, which the table does not take
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
    """The configuration, and for each job its input FP32 [rows, 4] and what the model must answer,
    FP32 [rows, 128].
    """

    config_path: Path
    inputs: tuple[Array, ...]
    expected: tuple[Array, ...]


def prepare(folder: Path, jobs: int, seed: int) -> Setting:
    """Write model and configuration, and have onnxruntime say what each input must give."""
    import onnxruntime

    manifest = builders.write_artifact(
        folder / "artifacts", builders.linear(outputs=OUTPUTS), name=MODEL
    )
    config_path = folder / "onnxlift.toml"
    config_path.write_text(CONFIG)
    random = np.random.default_rng(seed)
    rows = [WIDE_ROWS if number % WIDE_EVERY == 0 else 1 for number in range(jobs)]
    inputs = tuple(random.normal(size=(count, 4)).astype(np.float32) for count in rows)
    path = folder / "artifacts" / MODEL / manifest.version / "model.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answered = tuple(session.run(None, {manifest.inputs[0].name: array})[0] for array in inputs)
    return Setting(config_path, inputs, answered)


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
