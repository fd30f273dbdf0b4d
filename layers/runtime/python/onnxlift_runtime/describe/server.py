"""The endpoints of the service as a whole, answered from the manifests, in whichever function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.describe import documents
from onnxlift_runtime.errors import ModelUnavailable
from onnxlift_runtime.http import routes as endpoints
from onnxlift_runtime.http.message import Request, Response, Route
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.settings import DEFAULT_LIMITS, Limits
from onnxlift_runtime.tensors.wire import expect, expect_mapping

Params = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Directory:
    """The models to describe, and by (model, version) why some of them cannot serve."""

    models: Catalog
    failures: Mapping[tuple[str, str], str] = field(default_factory=dict)
    limits: Limits = DEFAULT_LIMITS

    def find(self, params: Params) -> Manifest:
        """The version that a path names."""
        return self.models.find(params["model"] or "", params["version"])


def routes(directory: Directory) -> tuple[Route, ...]:
    """The endpoints that look at the service as a whole."""
    return endpoints.bind(endpoints.SERVER, _HANDLERS, directory)


def _server_metadata(_directory: Directory, _request: Request, _params: Params) -> Response:
    return Response.json(documents.server_metadata())


def _live(_directory: Directory, _request: Request, _params: Params) -> Response:
    return Response.json({"live": True})


def _ready(directory: Directory, _request: Request, _params: Params) -> Response:
    """Ready while every version that was deployed can serve; otherwise 503 with the first
    reason.
    """
    for why in directory.failures.values():
        return Response.json({"ready": False, "error": why}, 503, ModelUnavailable(why).headers)
    return Response.json({"ready": True})


def _model_list(directory: Directory, _request: Request, _params: Params) -> Response:
    return Response.json(documents.model_list(directory.models))


def _repository_index(directory: Directory, request: Request, _params: Params) -> Response:
    """Every version and its state; ``{"ready": true}`` leaves out those that cannot serve."""
    # Loaded here because it loads orjson, which would slow down the start of `control`.
    from onnxlift_runtime.http.encoding import decode_json, inflate

    limits = directory.limits
    _, body = inflate(request.headers, request.body, limits.max_decompressed_bytes)
    document = expect_mapping(
        decode_json(body.strip() or b"{}", max_bytes=limits.max_json_bytes), "the request"
    )
    ready_only = expect(document.get("ready", False), bool, "'ready'")
    entries = documents.repository_index(directory.models, directory.failures)
    return Response.json(
        [entry for entry in entries if entry["state"] == "READY" or not ready_only]
    )


_HANDLERS: Final[Mapping[str, Callable[[Directory, Request, Params], Response]]] = {
    "serverMetadata": _server_metadata,
    "live": _live,
    "ready": _ready,
    "models": _model_list,
    "servingModels": _model_list,
    "repositoryIndex": _repository_index,
}
