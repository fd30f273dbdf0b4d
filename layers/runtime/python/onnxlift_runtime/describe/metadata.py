"""What both protocols report about one model, answered from manifests alone, wherever it runs."""

from collections.abc import Callable, Mapping
from typing import Final

from onnxlift_runtime.describe import documents
from onnxlift_runtime.describe.server import Directory, Params
from onnxlift_runtime.errors import ModelUnavailable
from onnxlift_runtime.http.message import Request, Response
from onnxlift_runtime.protocols import tfs


def _model_metadata(directory: Directory, _request: Request, params: Params) -> Response:
    return Response.json(documents.model_metadata(directory.models, directory.find(params)))


def _model_ready(directory: Directory, _request: Request, params: Params) -> Response:
    manifest = directory.find(params)
    why = directory.failures.get((manifest.name, manifest.version))
    if why is None:
        return Response.json({"name": manifest.name, "ready": True})
    return Response.json(
        {"name": manifest.name, "ready": False, "error": why}, 503, ModelUnavailable(why).headers
    )


def _model_config(directory: Directory, _request: Request, params: Params) -> Response:
    return Response.json(documents.model_config(directory.find(params)))


def _serving(directory: Directory, request: Request, _params: Params) -> Response:
    """TensorFlow Serving's status and metadata."""
    target, models = tfs.decode_path(request.method, request.path), directory.models
    if target.verb == "metadata":
        return Response.json(
            documents.serving_metadata(models.find(target.model, target.version, target.label))
        )
    one = target.version or target.label
    found_all = models.versions(target.model)
    asked = (models.find(target.model, target.version, target.label),) if one else found_all
    return Response.json(documents.serving_status(asked, directory.failures))


HANDLERS: Final[Mapping[str, Callable[[Directory, Request, Params], Response]]] = {
    "metadata": _model_metadata,
    "ready": _model_ready,
    "config": _model_config,
    "status": _serving,
    "servingMetadata": _serving,
}
