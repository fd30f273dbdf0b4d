"""What a job of these runs is about."""

from onnxlift.client.requests import encode_inference
from onnxlift_runtime.jobs.job import Payload
from onnxlift_runtime.tensors.arrays import Array


def encode_payload(name: str, rows: Array) -> Payload:
    """A request with one FP32 input, which asks for a binary answer; header names as API Gateway's
    events have them.
    """
    body, headers = encode_inference({name: ("FP32", rows)}, binary=True, classes={})
    return Payload.of(body, {header.lower(): value for header, value in headers.items()})
