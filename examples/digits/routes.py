"""Where requests go: a model that is placed on GPU workers, and a request that is too much for one
answer of Lambda.

The model enlarges a digit from 8 × 8 to 96 × 96 points. 256 of them are an answer of 9 MB, and one
response carries 6.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxlift.client import Client
from onnxlift.client.answer import decode_answer
from onnxlift.client.jobs import JobRecord, Jobs
from onnxlift.client.transport import read_document
from onnxlift.config import Config
from onnxlift_runtime.dataplane.routing import HEADER

ON_LAMBDA, ON_GPU = "enlarge", "enlarge-gpu"
FACTOR: Final = 12
MANY: Final = 256
PATIENCE_S: Final = 30.0
Array = np.ndarray[Any, np.dtype[Any]]

_CONFIG: Final = """
service = "{service}"
[models.{model}]
source = "{source}"
version = {version}
quality = {{ samples = "{samples}" }}
[models.enlarge]
source = "enlarge.onnx"
recipe = "fp32"
quality = {{ samples = "{samples}", metric = "cosine" }}
[models.enlarge-gpu]
source = "enlarge.onnx"
recipe = "fp32"
quality = {{ samples = "{samples}", metric = "cosine" }}
placement = {{ tier = "gpu" }}
"""


@dataclass(frozen=True, slots=True)
class Routed:
    """What was asked, how it was answered, the route that the answer told, and whether the outputs
    were right.
    """

    asked: str
    status: int
    route: str
    right: bool


@contextmanager
def written_config(config: Config, model: str) -> Iterator[Path]:
    """A configuration of both models and a compressed one, in a folder of its own, which is gone
    afterwards.
    """
    found = config.models[model]
    with tempfile.TemporaryDirectory(prefix="onnxlift-") as folder:
        path = Path(folder) / "onnxlift.toml"
        onnx.save(enlarger(), str(path.with_name("enlarge.onnx")))
        told = {"source": found.source, "version": found.version, "samples": found.quality.samples}
        path.write_text(_CONFIG.format(service=config.service, model=model, **told))
        path.with_name("artifacts").mkdir()
        path.with_name("artifacts").joinpath(model).symlink_to(
            config.artifacts / model, target_is_directory=True
        )
        yield path


def enlarger() -> onnx.ModelProto:
    """``large`` FP32 [-1, 1, 96, 96] is ``pixels`` FP32 [-1, 1, 8, 8], every point twelve times as
    wide and high.
    """
    scales = numpy_helper.from_array(np.array([1, 1, FACTOR, FACTOR], np.float32), "scales")
    node = helper.make_node("Resize", ["pixels", "", "scales"], ["large"], mode="nearest")
    sides = ((8, "pixels"), (8 * FACTOR, "large"))
    given, wanted = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1, side, side])
        for side, name in sides
    )
    graph = helper.make_graph([node], "enlarge", [given], [wanted], [scales])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def ask_all(client: Client, pixels: Array) -> list[Routed]:
    """Ask the model on Lambda and the one on GPU workers for one image, and Lambda's for 256 at
    once.
    """
    asked = ((ON_LAMBDA, 1), (ON_GPU, 1), (ON_LAMBDA, MANY))
    return [ask(client, model, pixels[:count]) for model, count in asked]


def ask(client: Client, model: str, pixels: Array) -> Routed:
    """Ask as any client would, and follow the job where one was made of the request."""
    answer = client.ask(model, {"pixels": ("FP32", pixels)}, {})
    if answer.status_code == 202:
        jobs, job = Jobs(client), JobRecord.of(read_document(answer))
        jobs.wait(job.id, PATIENCE_S)
        outputs = jobs.result(job.id).outputs
    else:
        outputs = decode_answer(answer.content, answer.headers).outputs
    expected = pixels.repeat(FACTOR, axis=2).repeat(FACTOR, axis=3)
    rows = f"{len(pixels)} image{'s' if len(pixels) > 1 else ''}"
    right = bool(np.array_equal(outputs["large"], expected))
    return Routed(f"{model}, {rows}", answer.status_code, answer.headers.get(HEADER, ""), right)


def problems(found: list[Routed]) -> list[str]:
    """What was promised and does not hold."""
    promised = ((200, "lambda"), (200, "gpu"), (202, "lambda"))
    wrong = [
        f"{item.asked}: the answer is not the enlarged image" for item in found if not item.right
    ]
    return wrong + [
        f"{item.asked}: answered {item.status} with route {item.route!r}, expected {status} from "
        f"{tier}"
        for item, (status, tier) in zip(found, promised, strict=True)
        if item.status != status or not item.route.startswith(f"{tier};")
    ]
