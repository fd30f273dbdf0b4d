"""Which models there are, and everything the protocols say about them, from their manifests
alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from onnxlift_runtime import __version__
from onnxlift_runtime.errors import ModelNotFound, VersionNotFound
from onnxlift_runtime.manifest import Manifest, TensorSpec
from onnxlift_runtime.tensors.datatypes import datatype

SERVER_NAME: Final = "onnxlift"
EXTENSIONS: Final = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
)
SIGNATURE: Final = "serving_default"


@dataclass(frozen=True, slots=True)
class Catalog:
    """Models by name, each with its versions, the newest last."""

    models: Mapping[str, tuple[Manifest, ...]]

    @classmethod
    def of(cls, manifests: Iterable[Manifest]) -> "Catalog":
        """Group manifests by model name and order the versions by number."""
        models: dict[str, list[Manifest]] = {}
        for manifest in manifests:
            models.setdefault(manifest.name, []).append(manifest)
        return cls(
            {name: tuple(sorted(found, key=_number)) for name, found in sorted(models.items())}
        )

    def versions(self, model: str) -> tuple[Manifest, ...]:
        """All versions of a model, the newest last; raises ``ModelNotFound``."""
        try:
            return self.models[model]
        except KeyError:
            known = ", ".join(self.models) or "none"
            raise ModelNotFound(f"model {model!r} does not exist; known models: {known}") from None

    def find(self, model: str, version: str | None = None, label: str | None = None) -> Manifest:
        """One version of a model: the one named, the one labelled, or the newest."""
        versions = self.versions(model)
        if version is None and label is None:
            return versions[-1]
        for manifest in versions:
            if (
                (label in manifest.version_labels)
                if label is not None
                else (manifest.version == version)
            ):
                return manifest
        asked = f"label {label!r}" if label is not None else f"version {version!r}"
        known = ", ".join(_describe(manifest) for manifest in versions)
        raise VersionNotFound(f"model {model!r} has no {asked}; it has: {known}")

    def __iter__(self) -> Any:
        return (manifest for versions in self.models.values() for manifest in versions)


def server_metadata() -> dict[str, Any]:
    """Open Inference Protocol, "Server Metadata Response JSON Object"."""
    return {"name": SERVER_NAME, "version": __version__, "extensions": list(EXTENSIONS)}


def model_metadata(catalog: Catalog, manifest: Manifest) -> dict[str, Any]:
    """Open Inference Protocol, "Model Metadata Response JSON Object"."""
    return {
        "name": manifest.name,
        "versions": [found.version for found in catalog.versions(manifest.name)],
        "platform": manifest.platform,
        "inputs": [_tensor_metadata(spec) for spec in manifest.inputs],
        "outputs": [_tensor_metadata(spec) for spec in manifest.outputs],
    }


def model_config(manifest: Manifest) -> dict[str, Any]:
    """Triton's model configuration extension; ``dims`` leave the batch dimension out where there is
    one.
    """
    return {
        "name": manifest.name,
        "platform": manifest.platform,
        "backend": "onnxruntime",
        "max_batch_size": manifest.max_batch_size,
        "version_policy": {"all": {}},
        "input": [_tensor_config(spec, manifest) for spec in manifest.inputs],
        "output": [_tensor_config(spec, manifest) for spec in manifest.outputs],
        "default_model_filename": manifest.model_file,
        "parameters": {
            "recipe": {"string_value": manifest.recipe},
            "quality": {
                "string_value": f"{manifest.quality.metric} {manifest.quality.measured:.6g}"
            },
        },
    }


def model_list(catalog: Catalog) -> dict[str, Any]:
    """Every model with its versions, under the key that KServe's v1 list uses too."""
    return {"models": list(catalog.models)}


def repository_index(
    catalog: Catalog, failures: Mapping[tuple[str, str], str]
) -> list[dict[str, str]]:
    """Triton's repository index; ``failures`` maps (model, version) to why it cannot serve."""
    return [
        _index_entry(manifest, failures.get((manifest.name, manifest.version)))
        for manifest in catalog
    ]


def serving_status(
    manifests: Iterable[Manifest], failures: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    """TensorFlow Serving's GetModelStatus answer; versions are strings, as proto JSON writes
    int64.
    """
    return {
        "model_version_status": [
            _status(found, failures.get((found.name, found.version))) for found in manifests
        ]
    }


def serving_metadata(manifest: Manifest) -> dict[str, Any]:
    """TensorFlow Serving's GetModelMetadata answer, with its doubled ``signature_def``."""
    signature = {
        "inputs": {spec.name: _signature_tensor(spec) for spec in manifest.inputs},
        "outputs": {spec.name: _signature_tensor(spec) for spec in manifest.outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": manifest.name, "signature_name": "", "version": manifest.version},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
    }


def _number(manifest: Manifest) -> int:
    return int(manifest.version)


def _describe(manifest: Manifest) -> str:
    labels = f" ({', '.join(manifest.version_labels)})" if manifest.version_labels else ""
    return manifest.version + labels


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _tensor_config(spec: TensorSpec, manifest: Manifest) -> dict[str, Any]:
    # Triton's configuration says STRING where its protocol says BYTES.
    name = "STRING" if spec.datatype == "BYTES" else spec.datatype
    dims = spec.shape[1:] if manifest.max_batch_size else spec.shape
    return {"name": spec.name, "data_type": f"TYPE_{name}", "dims": list(dims)}


def _index_entry(manifest: Manifest, failure: str | None) -> dict[str, str]:
    state = "UNAVAILABLE" if failure else "READY"
    return {
        "name": manifest.name,
        "version": manifest.version,
        "state": state,
        "reason": failure or "",
    }


def _status(manifest: Manifest, failure: str | None) -> dict[str, Any]:
    error = {"error_code": "UNAVAILABLE", "error_message": failure} if failure else _OK
    return {
        "version": manifest.version,
        "state": "END" if failure else "AVAILABLE",
        "status": error,
    }


_OK: Final = {"error_code": "OK", "error_message": ""}


def _signature_tensor(spec: TensorSpec) -> dict[str, Any]:
    dims = [{"size": str(size), "name": ""} for size in spec.shape]
    return {
        "dtype": datatype(spec.datatype).tensorflow,
        "tensor_shape": {"dim": dims, "unknown_rank": False},
        "name": f"{spec.name}:0",
    }
