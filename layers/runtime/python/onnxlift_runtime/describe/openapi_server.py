"""The operations of the service as a whole, in the OpenAPI document."""

from collections.abc import Callable, Mapping
from typing import Final

from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.describe import documents, schemas
from onnxlift_runtime.describe.operations import Document, read
from onnxlift_runtime.http.message import JSON

SERVER_TAG: Final = "server"


def _server_metadata(_models: Catalog) -> Document:
    return read(
        "serverMetadata",
        SERVER_TAG,
        "Server metadata",
        "ServerMetadata",
        documents.server_metadata(),
    )


def _live(_models: Catalog) -> Document:
    return read("live", SERVER_TAG, "Whether the server runs", "Live", {"live": True})


def _ready(_models: Catalog) -> Document:
    answer = {"ready": True}
    return read(
        "ready", SERVER_TAG, "Whether every model can answer", "Ready", answer, errors=(429, 503)
    )


def _models(models: Catalog) -> Document:
    return read("models", SERVER_TAG, "The models", "ModelList", documents.model_list(models))


def _serving_models(models: Catalog) -> Document:
    return _models(models) | {"operationId": "servingModels"}


def _repository_index(_models: Catalog) -> Document:
    summary = "Every version of every model and its state"
    index = read("repositoryIndex", SERVER_TAG, summary, "RepositoryIndex")
    body = {JSON: {"schema": schemas.ref("RepositoryIndexRequest")}}
    return index | {"requestBody": {"content": body, "required": False}}


def _openapi(_models: Catalog) -> Document:
    document = read("openapi", SERVER_TAG, "This document", None)
    document["responses"]["200"]["content"] = {JSON: {"schema": {"type": "object"}}}
    return document


def _docs(_models: Catalog) -> Document:
    page = read("docs", SERVER_TAG, "This document as a page", None)
    page["responses"]["200"]["content"] = {"text/html": {"schema": {"type": "string"}}}
    return page


OPERATIONS: Final[Mapping[str, Callable[[Catalog], Document]]] = {
    "serverMetadata": _server_metadata,
    "live": _live,
    "ready": _ready,
    "models": _models,
    "servingModels": _serving_models,
    "repositoryIndex": _repository_index,
    "openapi": _openapi,
    "docs": _docs,
}
