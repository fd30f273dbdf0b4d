"""What the protocols report about models, made from their manifests alone."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from onnxlift_runtime import __version__
from onnxlift_runtime.catalog import SIGNATURE, Catalog
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

    Triton knows a batch in dimension 0 of everything alone; it reports any other as none.
    """
    specs = (*manifest.inputs, *manifest.outputs)
    batched = all(manifest.batch_axis(spec.name) == 0 for spec in specs)
    return {
        "name": manifest.name,
        "platform": manifest.platform,
        "backend": "onnxruntime",
        "max_batch_size": manifest.max_batch_size if batched else 0,
        "version_policy": {"all": {}},
        "input": [_tensor_config(spec, batched) for spec in manifest.inputs],
        "output": [_tensor_config(spec, batched) for spec in manifest.outputs],
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


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _tensor_config(spec: TensorSpec, batched: bool) -> dict[str, Any]:
    # Triton's configuration says STRING where its protocol says BYTES.
    name = "STRING" if spec.datatype == "BYTES" else spec.datatype
    dims = spec.shape[1:] if batched else spec.shape
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
