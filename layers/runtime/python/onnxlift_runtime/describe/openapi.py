"""The one document that describes the whole API, OpenAPI 3.0.1, made from the manifests.

It follows the table of endpoints in ``http.routes``. The docs page, the gateway, and the tests that
call every endpoint read this document.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from onnxlift_runtime import __version__
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.describe import (
    openapi_jobs,
    openapi_models,
    openapi_server,
    operations,
    schemas,
)
from onnxlift_runtime.describe.openapi_models import Subject
from onnxlift_runtime.describe.openapi_server import SERVER_TAG
from onnxlift_runtime.describe.operations import Document
from onnxlift_runtime.http.routes import DOCUMENTATION, MODEL, SERVER, SERVING, Endpoint
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.settings import DEFAULT_LIMITS, Limits

API_KEY_HEADER: Final = "x-api-key"


def describe(
    models: Catalog,
    *,
    title: str,
    api_key_required: bool,
    jobs: bool = False,
    gpu_models: Collection[str] = (),
    limits: Limits = DEFAULT_LIMITS,
) -> Document:
    """The OpenAPI document of a service; ``api_key_required`` adds the key to every operation,
    ``jobs`` their paths.

    ``gpu_models`` are those that run on GPU workers alone; ``limits`` are those of the functions.
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
        "components": {
            "schemas": schemas.server_schemas(),
            "responses": operations.error_responses(limits),
        },
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
    return {
        row.path: {row.method.lower(): openapi_server.OPERATIONS[row.operation](models)}
        for row in (*SERVER, *DOCUMENTATION)
    }


def _model_paths(models: Catalog, versions: tuple[Manifest, ...], api_key: bool) -> Document:
    """Every path of one model: without a version the newest answers, then each version, then each
    label.
    """
    newest = Subject(models, versions[-1], versions, "", api_key)
    paths = _paths_of(newest, "", (*MODEL, *SERVING))
    for manifest in versions:
        one = replace(newest, manifest=manifest, asked=(manifest,))
        place, suffix = f"/versions/{manifest.version}", f"Version{manifest.version}"
        paths |= _paths_of(replace(one, suffix=suffix), place, (*MODEL, *SERVING))
        for label in manifest.version_labels:
            labelled = replace(one, suffix=f"Label_{label}")
            paths |= _paths_of(labelled, f"/labels/{label}", SERVING)
    return paths


def _paths_of(subject: Subject, place: str, endpoints: Iterable[Endpoint]) -> Document:
    """The endpoints of one version; ``place`` is the part after the model's name."""
    paths: Document = {}
    for row in endpoints:
        path = row.path.replace("{model}", subject.manifest.name + place)
        operation = openapi_models.OPERATIONS[row.operation](subject, path)
        paths[path] = {row.method.lower(): operation}
    return paths
