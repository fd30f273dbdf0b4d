"""The Open Inference Protocol, version 2: wire tensors as the bytes of requests and answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from onnxlift_runtime.http.encoding import encode_json
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.tensors.wire import WireTensor, flatten


def encode_infer(
    manifest: Manifest, request_id: str, outputs: Sequence[WireTensor]
) -> tuple[bytes, int | None]:
    """Write an inference answer; returns the body, and the length of its JSON where binary tensors
    follow it.

    Keys come in Triton's order. Where all binary outputs are empty nothing follows the JSON, and
    the length is None.
    """
    document: dict[str, Any] = {"id": request_id} if request_id else {}
    document["model_name"], document["model_version"] = manifest.name, manifest.version
    document["outputs"] = [_encode_output(tensor) for tensor in outputs]
    header = encode_json(document)
    blobs = [tensor.data for tensor in outputs if tensor.binary]
    body = b"".join([header, *blobs])
    return body, len(header) if len(body) > len(header) else None


def encode_request(
    inputs: Sequence[WireTensor], *, binary_output: bool, classes: Mapping[str, int]
) -> tuple[bytes, int]:
    """Write an inference request as a client does; returns the body and the length of its JSON."""
    document: dict[str, Any] = {"inputs": [_encode_output(tensor) for tensor in inputs]}
    if binary_output:
        document["parameters"] = {"binary_data_output": True}
    if classes:
        document["outputs"] = [
            {"name": name, "parameters": {"classification": k}} for name, k in classes.items()
        ]
    header = encode_json(document)
    return b"".join([header, *(tensor.data for tensor in inputs if tensor.binary)]), len(header)


def _encode_output(tensor: WireTensor) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": tensor.shape,
    }
    if tensor.binary:
        return entry | {"parameters": {"binary_data_size": len(tensor.data)}}
    return entry | {"data": _flat(tensor)}


def _flat(tensor: WireTensor) -> Any:
    """The elements in row-major order: the protocol's ``data`` is an array even for a scalar."""
    if isinstance(tensor.data, list):
        return flatten(tensor)
    return [tensor.data] if isinstance(tensor.data, str) else tensor.data.reshape(-1)
