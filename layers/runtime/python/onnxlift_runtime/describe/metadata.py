"""What both protocols tell about models, answered from their manifests alone, wherever the models
run.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from onnxlift_runtime import catalog
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.errors import ModelUnavailable
from onnxlift_runtime.http.message import Request, Response, Route
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.protocols import tfs

Params = Mapping[str, str | None]

MODEL_PATH: Final = r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?"
INFER_PATH: Final = MODEL_PATH + "/infer"
SERVING_PATH: Final = r"(?i:/v1/models/.*)"


@dataclass(frozen=True, slots=True)
class Directory:
    """The models to tell about, and by (model, version) why some of them cannot serve."""

    models: Catalog
    failures: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def find(self, params: Params) -> Manifest:
        """The version that a path names."""
        return self.models.find(params["model"] or "", params["version"])


def routes(directory: Directory) -> tuple[Route, ...]:
    """The endpoints that look at one model."""
    table = (
        (MODEL_PATH, _model_metadata),
        (MODEL_PATH + "/ready", _model_ready),
        (MODEL_PATH + "/config", _model_config),
        (SERVING_PATH, _serving),
    )
    return tuple(
        Route("GET", re.compile(pattern), partial(answer, directory)) for pattern, answer in table
    )


def _model_metadata(directory: Directory, _request: Request, params: Params) -> Response:
    return Response.json(catalog.model_metadata(directory.models, directory.find(params)))


def _model_ready(directory: Directory, _request: Request, params: Params) -> Response:
    manifest = directory.find(params)
    why = directory.failures.get((manifest.name, manifest.version))
    if why is None:
        return Response.json({"name": manifest.name, "ready": True})
    return Response.json(
        {"name": manifest.name, "ready": False, "error": why}, 503, ModelUnavailable(why).headers
    )


def _model_config(directory: Directory, _request: Request, params: Params) -> Response:
    return Response.json(catalog.model_config(directory.find(params)))


def _serving(directory: Directory, request: Request, _params: Params) -> Response:
    """TensorFlow Serving's status and metadata."""
    target, models = tfs.decode_path(request.method, request.path), directory.models
    if target.verb == "metadata":
        return Response.json(
            catalog.serving_metadata(models.find(target.model, target.version, target.label))
        )
    one = target.version or target.label
    found_all = models.versions(target.model)
    asked = (models.find(target.model, target.version, target.label),) if one else found_all
    return Response.json(catalog.serving_status(asked, directory.failures))
