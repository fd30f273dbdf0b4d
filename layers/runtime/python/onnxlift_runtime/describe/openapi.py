"""The one document that describes the whole API, OpenAPI 3.0.1, made from the manifests.

Everything that needs to know which endpoints there are reads this document: the docs page, the
front door that routes to the functions, and the tests that call every endpoint in it.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from onnxlift_runtime import __version__, catalog
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.describe import examples, openapi_jobs, schemas
from onnxlift_runtime.errors import (
    InferenceFailed,
    ModelUnavailable,
    NotFound,
    PayloadTooLarge,
    RequestError,
    UnsupportedEncoding,
)
from onnxlift_runtime.http.message import JSON, OCTET_STREAM
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.settings import DEFAULT_LIMITS

Document = dict[str, Any]

SERVER_TAG: Final = "server"
API_KEY_HEADER: Final = "x-api-key"
_READ_ERRORS: Final = (404, 429, 500)
_RUN_ERRORS: Final = (400, 404, 413, 415, 429, 500, 503, 504)
_BINARY_HEADERS: Final = (
    (
        "Inference-Header-Content-Length",
        "integer",
        "Bytes of JSON before the binary tensors; 0 for one raw tensor.",
    ),
    ("Content-Encoding", "string", "gzip or deflate."),
)


def describe(
    models: Catalog,
    *,
    title: str,
    api_key_required: bool,
    jobs: bool = False,
    gpu_models: Collection[str] = (),
) -> Document:
    """The OpenAPI document of a service; ``api_key_required`` adds the key to every operation,
    ``jobs`` their paths.

    ``gpu_models`` are those that run on GPU workers alone.
    """
    document: Document = {
        "openapi": "3.0.1",
        "info": {"title": title, "version": __version__, "description": _INTRODUCTION},
        "servers": [{"url": "."}],
        "tags": [
            {"name": SERVER_TAG, "description": "The service as a whole."},
            *(_tag(found, gpu_models) for found in models.models.values()),
        ],
        "paths": _server_paths(models),
        "components": {"schemas": schemas.server_schemas(), "responses": _error_responses()},
    }
    for manifest in models:
        document["components"]["schemas"].update(schemas.model_schemas(manifest))
    for versions in models.models.values():
        document["paths"].update(_model_paths(models, versions, api_key_required))
    if api_key_required:
        scheme = {"type": "apiKey", "name": API_KEY_HEADER, "in": "header"}
        document["components"]["securitySchemes"] = {"api_key": scheme}
        document["security"] = [{"api_key": []}]
    return openapi_jobs.extend(document) if jobs else document


_INTRODUCTION: Final = (
    "Models behind the Open Inference Protocol (version 2) and TensorFlow Serving's REST API. "
    'Every error is {"error": "what, which, and what was expected"}. '
    "In the examples, $URL is this document's address without /openapi.json, and $KEY an API key "
    "where one is needed."
)


def _tag(versions: tuple[Manifest, ...], gpu_models: Collection[str]) -> Document:
    """One model in words: what it takes and gives, and how good it is."""
    newest = versions[-1]
    quality = newest.quality
    lines = [
        f"Versions: {', '.join(manifest.version for manifest in versions)}; a path without one "
        f"means the newest.",
        *(f"Input {spec.name}: {spec.datatype} {list(spec.shape)}" for spec in newest.inputs),
        *(f"Output {spec.name}: {spec.datatype} {list(spec.shape)}" for spec in newest.outputs),
        f"{quality.metric} {quality.measured:.4g}, before compression {quality.reference:.4g} "
        f"({quality.samples} held-out samples).",
        *([_GPU] if newest.name in gpu_models else ()),
    ]
    return {"name": newest.name, "description": "\n\n".join(lines)}


_GPU: Final = (
    "It runs on GPU workers, which may sleep. An inference is answered where they have time within "
    "seconds, and "
    "becomes a job (202) where they have not; over TensorFlow Serving's paths it is told to come "
    "again (503)."
)


def _server_paths(models: Catalog) -> Document:
    index = _read(
        "repositoryIndex",
        SERVER_TAG,
        "Every version of every model and its state",
        "RepositoryIndex",
    )
    index["requestBody"] = {
        "content": {JSON: {"schema": schemas.ref("RepositoryIndexRequest")}},
        "required": False,
    }
    page = _read("docs", SERVER_TAG, "This document as a page", None)
    page["responses"]["200"]["content"] = {"text/html": {"schema": {"type": "string"}}}
    document = _read("openapi", SERVER_TAG, "This document", None)
    document["responses"]["200"]["content"] = {JSON: {"schema": {"type": "object"}}}
    metadata = _read(
        "serverMetadata", SERVER_TAG, "Server metadata", "ServerMetadata", catalog.server_metadata()
    )
    ready = _read(
        "ready",
        SERVER_TAG,
        "Whether every model can answer",
        "Ready",
        {"ready": True},
        errors=(429, 503),
    )
    return {
        "/v2": {"get": metadata},
        "/v2/health/live": {
            "get": _read("live", SERVER_TAG, "Whether the server runs", "Live", {"live": True})
        },
        "/v2/health/ready": {"get": ready},
        "/v2/models": {
            "get": _read(
                "models", SERVER_TAG, "The models", "ModelList", catalog.model_list(models)
            ),
        },
        "/v1/models": {
            "get": _read(
                "servingModels", SERVER_TAG, "The models", "ModelList", catalog.model_list(models)
            ),
        },
        "/v2/repository/index": {"post": index},
        "/openapi.json": {"get": document},
        "/docs": {"get": page},
    }


def _model_paths(models: Catalog, versions: tuple[Manifest, ...], api_key: bool) -> Document:
    """Every path of one model: without a version the newest answers, then each version, then each
    label.
    """
    paths = dict(_inference_paths(models, versions[-1], "", "", api_key))
    paths |= _serving_paths(versions, versions[-1], "", "")
    for manifest in versions:
        version = f"/versions/{manifest.version}"
        paths |= dict(
            _inference_paths(models, manifest, version, f"Version{manifest.version}", api_key)
        )
        paths |= _serving_paths((manifest,), manifest, version, f"Version{manifest.version}")
        for label in manifest.version_labels:
            paths |= _serving_paths((manifest,), manifest, f"/labels/{label}", f"Label_{label}")
    return paths


def _inference_paths(
    models: Catalog, manifest: Manifest, place: str, suffix: str, api_key: bool
) -> Iterator[tuple[str, Document]]:
    """The Open Inference Protocol's paths; ``place`` is the part after the model's name, ``suffix``
    its short form.
    """
    model, path = manifest.name, f"/v2/models/{manifest.name}{place}"
    metadata, config = catalog.model_metadata(models, manifest), catalog.model_config(manifest)
    yield (
        path,
        {
            "get": _read(
                f"metadata_{model}{suffix}", model, "Inputs and outputs", "ModelMetadata", metadata
            )
        },
    )
    ready = {"name": model, "ready": True}
    yield (
        f"{path}/ready",
        {
            "get": _read(
                f"ready_{model}{suffix}",
                model,
                "Whether it can answer",
                "ModelReady",
                ready,
                (404, 429, 503),
            )
        },
    )
    yield (
        f"{path}/config",
        {
            "get": _read(
                f"config_{model}{suffix}",
                model,
                "Triton's model configuration",
                "ModelConfig",
                config,
            )
        },
    )
    example = examples.infer_example(manifest) if examples.is_small(manifest) else None
    infer = _run(
        f"infer_{model}{suffix}", manifest, "Inference", "InferRequest", "InferResponse", example
    )
    command = examples.infer_command(manifest, f"{path}/infer", api_key=api_key)
    infer["x-codeSamples"] = [{"lang": "Shell", "source": command}]
    infer["parameters"] = [
        {"name": name, "in": "header", "description": text, "schema": {"type": kind}}
        for name, kind, text in _BINARY_HEADERS
    ]
    tensors = {"schema": {"type": "string", "format": "binary"}}
    infer["requestBody"]["content"][OCTET_STREAM] = tensors
    infer["responses"]["200"]["content"][OCTET_STREAM] = tensors
    yield f"{path}/infer", {"post": infer}


def _serving_paths(
    asked: tuple[Manifest, ...], manifest: Manifest, place: str, suffix: str
) -> Document:
    """TensorFlow Serving's paths."""
    model, path = manifest.name, f"/v1/models/{manifest.name}{place}"
    status, metadata = catalog.serving_status(asked, {}), catalog.serving_metadata(manifest)
    small = examples.is_small(manifest)
    row = examples.predict_example(manifest) if small else None
    features = examples.features_example(manifest) if small else None
    predict = _run(
        f"predict_{model}{suffix}", manifest, "Predict", "PredictRequest", "PredictResponse", row
    )
    classify = _run(
        f"classify_{model}{suffix}", manifest, "Classify", "ExamplesRequest", None, features
    )
    regress = _run(
        f"regress_{model}{suffix}", manifest, "Regress", "ExamplesRequest", None, features
    )
    classify["responses"]["200"]["content"] = {JSON: {"schema": schemas.ref("ClassifyResponse")}}
    regress["responses"]["200"]["content"] = {JSON: {"schema": schemas.ref("RegressResponse")}}
    return {
        path: {
            "get": _read(
                f"status_{model}{suffix}", model, "State of each version", "ServingStatus", status
            )
        },
        f"{path}/metadata": {
            "get": _read(
                f"servingMetadata_{model}{suffix}", model, "Signature", "ServingMetadata", metadata
            )
        },
        f"{path}:predict": {"post": predict},
        f"{path}:classify": {"post": classify},
        f"{path}:regress": {"post": regress},
    }


def _read(
    operation: str,
    tag: str,
    summary: str,
    schema: str | None,
    example: Any = None,
    errors: tuple[int, ...] = _READ_ERRORS,
) -> Document:
    """An operation that only reads; ``example`` is its exact answer where that is known."""
    content = {} if schema is None else {JSON: _media(schemas.ref(schema), example)}
    return {
        "operationId": operation,
        "summary": summary,
        "tags": [tag],
        "responses": {
            "200": {"description": "The answer.", "content": content},
            **_failures(errors),
        },
    }


def _run(
    operation: str,
    manifest: Manifest,
    summary: str,
    request: str,
    response: str | None,
    example: Any,
) -> Document:
    """An operation that runs the model."""
    body = _media(schemas.ref(schemas.schema_name(manifest, request)), example)
    answer = (
        {}
        if response is None
        else {JSON: _media(schemas.ref(schemas.schema_name(manifest, response)), None)}
    )
    return {
        "operationId": operation,
        "summary": summary,
        "tags": [manifest.name],
        "requestBody": {"required": True, "content": {JSON: body}},
        "responses": {
            "200": {"description": "The answer.", "content": answer},
            **_failures(_RUN_ERRORS),
        },
    }


def _media(schema: schemas.Schema, example: Any) -> Document:
    return {"schema": schema} if example is None else {"schema": schema, "example": example}


def _failures(statuses: tuple[int, ...]) -> Document:
    return {
        str(status): {"$ref": f"#/components/responses/{_error_name(status)}"}
        for status in statuses
    }


def _error_responses() -> Document:
    """Every error in its one form, described in the words of its class."""
    described: Mapping[int, str] = {
        kind.status: kind.__doc__ or ""
        for kind in (
            RequestError,
            NotFound,
            PayloadTooLarge,
            UnsupportedEncoding,
            InferenceFailed,
            ModelUnavailable,
        )
    } | {
        429: "More requests than the service allows.",
        504: "The model took longer than one request may.",
    }
    described = {
        **described,
        413: f"{described[413]} At most {DEFAULT_LIMITS.max_body_bytes} bytes are taken.",
    }
    return {
        _error_name(status): _error_response(status, text)
        for status, text in sorted(described.items())
    }


def _error_response(status: int, text: str) -> Document:
    response: Document = {"description": text, "content": {JSON: {"schema": schemas.ref("Error")}}}
    if status in {429, 503}:
        wait = {
            "description": "Seconds to wait before the next try.",
            "schema": {"type": "integer"},
        }
        response["headers"] = {"Retry-After": wait}
    return response


def _error_name(status: int) -> str:
    return f"Error{status}"
