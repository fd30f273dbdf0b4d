"""The operations of one model, in the OpenAPI document."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.describe import documents, examples, schemas
from onnxlift_runtime.describe.operations import Document, read, run
from onnxlift_runtime.http.message import JSON, OCTET_STREAM
from onnxlift_runtime.manifest import Manifest

_BINARY_HEADERS: Final = (
    (
        "Inference-Header-Content-Length",
        "integer",
        "Bytes of JSON before the binary tensors; 0 for one raw tensor.",
    ),
    ("Content-Encoding", "string", "gzip or deflate."),
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a path names: the version that answers, the versions whose status it reports, and the
    ending of its operations' ids.
    """

    models: Catalog
    manifest: Manifest
    asked: tuple[Manifest, ...]
    suffix: str
    api_key: bool

    def id(self, operation: str) -> str:
        """The id of an operation on this subject."""
        return f"{operation}_{self.manifest.name}{self.suffix}"

    def read(self, operation: str, summary: str, schema: str, example: Any) -> Document:
        """An operation that only reads."""
        return read(self.id(operation), self.manifest.name, summary, schema, example)


def _metadata(subject: Subject, _path: str) -> Document:
    example = documents.model_metadata(subject.models, subject.manifest)
    return subject.read("metadata", "Inputs and outputs", "ModelMetadata", example)


def _ready(subject: Subject, _path: str) -> Document:
    model = subject.manifest.name
    example = {"name": model, "ready": True}
    summary, errors = "Whether it can answer", (404, 429, 503)
    return read(subject.id("ready"), model, summary, "ModelReady", example, errors)


def _config(subject: Subject, _path: str) -> Document:
    example = documents.model_config(subject.manifest)
    return subject.read("config", "Triton's model configuration", "ModelConfig", example)


def _infer(subject: Subject, path: str) -> Document:
    manifest = subject.manifest
    example = examples.infer_example(manifest) if examples.is_small(manifest) else None
    infer = run(
        subject.id("infer"), manifest, "Inference", "InferRequest", "InferResponse", example
    )
    command = examples.infer_command(manifest, path, api_key=subject.api_key)
    infer["x-codeSamples"] = [{"lang": "Shell", "source": command}]
    infer["parameters"] = [
        {"name": name, "in": "header", "description": text, "schema": {"type": kind}}
        for name, kind, text in _BINARY_HEADERS
    ]
    tensors = {"schema": {"type": "string", "format": "binary"}}
    infer["requestBody"]["content"][OCTET_STREAM] = tensors
    infer["responses"]["200"]["content"][OCTET_STREAM] = tensors
    return infer


def _status(subject: Subject, _path: str) -> Document:
    example = documents.serving_status(subject.asked, {})
    return subject.read("status", "State of each version", "ServingStatus", example)


def _serving_metadata(subject: Subject, _path: str) -> Document:
    example = documents.serving_metadata(subject.manifest)
    return subject.read("servingMetadata", "Signature", "ServingMetadata", example)


def _predict(subject: Subject, _path: str) -> Document:
    manifest = subject.manifest
    example = examples.predict_example(manifest) if examples.is_small(manifest) else None
    return run(
        subject.id("predict"), manifest, "Predict", "PredictRequest", "PredictResponse", example
    )


def _classify(subject: Subject, _path: str) -> Document:
    return _of_examples(subject, "classify", "Classify", "ClassifyResponse")


def _regress(subject: Subject, _path: str) -> Document:
    return _of_examples(subject, "regress", "Regress", "RegressResponse")


def _of_examples(subject: Subject, operation: str, summary: str, response: str) -> Document:
    manifest = subject.manifest
    example = examples.features_example(manifest) if examples.is_small(manifest) else None
    found = run(subject.id(operation), manifest, summary, "ExamplesRequest", None, example)
    found["responses"]["200"]["content"] = {JSON: {"schema": schemas.ref(response)}}
    return found


OPERATIONS: Final[Mapping[str, Callable[[Subject, str], Document]]] = {
    "metadata": _metadata,
    "ready": _ready,
    "config": _config,
    "infer": _infer,
    "status": _status,
    "servingMetadata": _serving_metadata,
    "predict": _predict,
    "classify": _classify,
    "regress": _regress,
}
