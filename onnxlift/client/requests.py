"""How an inference is asked for: its terms, its path, and the bytes of its body."""

from collections.abc import Mapping
from typing import TypedDict, Unpack
from urllib.parse import quote

import httpx

from onnxlift.client.transport import Transport
from onnxlift_runtime.http.message import JSON, OCTET_STREAM
from onnxlift_runtime.protocols.oip import HEADER_LENGTH
from onnxlift_runtime.protocols.oip_encoding import encode_request
from onnxlift_runtime.tensors.arrays import Array, encode


class Terms(TypedDict, total=False):
    """How an inference is asked for.

    ``version`` is the newest when absent; ``binary``, true when absent, sends and asks for raw
    tensors instead of JSON; ``classes`` asks for the best k classes of the outputs it names instead
    of tensors.
    """

    version: str | None
    binary: bool
    classes: Mapping[str, int]


def send_inference(
    transport: Transport,
    model: str,
    inputs: Mapping[str, tuple[str, Array]],
    headers: Mapping[str, str],
    **terms: Unpack[Terms],
) -> httpx.Response:
    """What the service answers to an inference request with further ``headers``: the outputs, or a
    job.
    """
    body, own = encode_inference(
        inputs, binary=terms.get("binary", True), classes=terms.get("classes") or {}
    )
    return transport.call(
        "POST", model_path(model, terms.get("version")) + "/infer", body, {**own, **headers}
    )


def encode_inference(
    inputs: Mapping[str, tuple[str, Array]], *, binary: bool, classes: Mapping[str, int]
) -> tuple[bytes, dict[str, str]]:
    """The body of an inference request and the headers that give it meaning."""
    tensors = [
        encode(array, name, datatype, binary=binary) for name, (datatype, array) in inputs.items()
    ]
    body, json_length = encode_request(tensors, binary_output=binary, classes=classes)
    if binary:
        return body, {"Content-Type": OCTET_STREAM, HEADER_LENGTH: str(json_length)}
    return body, {"Content-Type": JSON}


def model_path(model: str, version: str | None) -> str:
    """The path of a model, or of one version of it."""
    path = f"/v2/models/{quote(model, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path
