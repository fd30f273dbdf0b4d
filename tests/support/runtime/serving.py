"""An engine with one tiny model of every kind, and the shortest way to ask it something."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from onnxlift_runtime.dataplane import endpoints
from onnxlift_runtime.dataplane.endpoints import Plane
from onnxlift_runtime.dataplane.engine import Engine
from onnxlift_runtime.dataplane.execution import EngineExecutor
from onnxlift_runtime.dataplane.routing import Hosting
from onnxlift_runtime.describe import server
from onnxlift_runtime.describe.server import Directory
from onnxlift_runtime.http.message import Request, Response, Route, dispatch
from onnxlift_runtime.protocols.oip import HEADER_LENGTH
from onnxlift_runtime.settings import Limits, Settings
from onnxlift_runtime.tensors.datatypes import DATATYPES
from tests.support import builders

LABELS = ("cat", "dog", "cow", "emu")


def gather() -> Any:
    """``y = table[x]`` with ``x`` INT64 [-1] and three rows: any other index is refused inside the
    graph.
    """
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    node = helper.make_node("Gather", ["table", "x"], ["y"])
    return builders.build(
        [node],
        [builders.value("x", "INT64", (-1,))],
        [builders.value("y", "FP32", (-1, 2))],
        {"table": table},
    )


def uneven() -> Any:
    """``same = x`` and ``twice``, which is ``x`` above ``x``: two outputs with different first
    dimensions.
    """
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Concat", ["x", "x"], ["twice"], axis=0),
    ]
    outputs = [builders.value("same", "FP32", (-1, 2)), builders.value("twice", "FP32", (-1, 2))]
    return builders.build(nodes, [builders.value("x", "FP32", (-1, 2))], outputs)


def image() -> Any:
    """``image_bytes = x``, an output that TensorFlow Serving writes as base64."""
    node = helper.make_node("Identity", ["x"], ["image_bytes"])
    return builders.build(
        [node],
        [builders.value("x", "BYTES", (-1, 1))],
        [builders.value("image_bytes", "BYTES", (-1, 1))],
    )


def write_models(root: Path) -> None:
    """Write the artifacts of every model that the tests of the runtime ask."""
    scores = (builders.spec("probabilities", "FP32", (-1, len(LABELS)), LABELS),)
    builders.write_artifact(
        root, builders.mlp(seed=1), outputs=scores, name="mlp", version_labels=("stable",)
    )
    builders.write_artifact(root, builders.mlp(seed=2), outputs=scores, name="mlp", version="10")
    builders.write_artifact(root, builders.linear(outputs=1), name="regressor")
    builders.write_artifact(
        root,
        builders.identities({"a": ("FP32", (-1, 2)), "b": ("BYTES", (-1, 1))}),
        name="pair",
        max_batch_size=4,
    )
    builders.write_artifact(root, uneven(), name="uneven")
    builders.write_artifact(root, image(), name="image")
    builders.write_artifact(root, gather(), name="gather")
    builders.write_artifact(root, builders.failing(), name="picky")
    for datatype in DATATYPES:
        name = datatype.name.lower()
        builders.write_artifact(root, builders.identity(datatype.name, (-1, -1)), name=name)
        builders.write_artifact(
            root, builders.identity(datatype.name, ()), name=f"{name}-scalar", max_batch_size=0
        )


def open_engine(root: Path, limits: Limits | None = None) -> Engine:
    """Open what lies below ``root``, on one thread."""
    return Engine.open(Settings(models_dir=root, threads=1), limits)


def model_routes(engine: Engine) -> tuple[Route, ...]:
    """The routes of the predict function, for a service that has neither jobs nor uploads."""

    def nothing(*_arguments: Any) -> Any:
        raise AssertionError("a service without jobs made one")

    directory = Directory(engine.catalog, engine.failures, engine.limits)
    plane = Plane(
        directory, lambda _model: Hosting(jobs=False), EngineExecutor(engine), nothing, nothing
    )
    return (*server.routes(directory), *endpoints.routes(plane))


@dataclass(frozen=True)
class Service:
    """The endpoints that `predict` has, of an engine and without jobs; refusals are raised."""

    engine: Engine
    table: tuple[Route, ...]

    @classmethod
    def of(cls, engine: Engine) -> "Service":
        return cls(engine, model_routes(engine))

    def get(self, path: str) -> Any:
        """The JSON at ``path``."""
        return json.loads(dispatch(self.table, Request("GET", path)).body)

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
        return dispatch(self.table, Request("POST", path, headers or {}, {}, body))

    def call(self, path: str, document: Any) -> Any:
        """The JSON that answers a JSON document."""
        return json.loads(self.post(path, json.dumps(document).encode()).body)

    def infer(self, model: str, *inputs: dict[str, Any], **more: Any) -> Any:
        return self.call(f"/v2/models/{model}/infer", {"inputs": list(inputs), **more})

    def infer_binary(self, model: str, document: dict[str, Any], blob: bytes) -> Response:
        header = json.dumps(document).encode()
        headers = {HEADER_LENGTH.lower(): str(len(header))}
        return self.post(f"/v2/models/{model}/infer", header + blob, headers)

    def infer_binary_raw(self, model: str, blob: bytes) -> bytes:
        """The JSON in the answer to a raw binary request."""
        answer = self.post(f"/v2/models/{model}/infer", blob, {HEADER_LENGTH.lower(): "0"})
        return answer.body[: int(answer.headers[HEADER_LENGTH])]


def tensor(name: str, datatype: str, shape: list[int], data: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def announced(name: str, datatype: str, shape: list[int], size_bytes: int) -> dict[str, Any]:
    """An input whose data follow the JSON."""
    parameters = {"binary_data_size": size_bytes}
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": parameters}
