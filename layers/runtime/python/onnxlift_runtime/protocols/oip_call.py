"""One Open Inference Protocol call, apart from how it came: the same for a waiting request and for
a job.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from onnxlift_runtime.http.encoding import decompress
from onnxlift_runtime.http.message import JSON, OCTET_STREAM, Response
from onnxlift_runtime.manifest import Manifest, TensorSpec
from onnxlift_runtime.protocols import classification, oip, oip_encoding
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors import arrays as tensors
from onnxlift_runtime.tensors.arrays import Array
from onnxlift_runtime.tensors.datatypes import datatype
from onnxlift_runtime.tensors.wire import WireTensor

_JSON_BYTES: Final = 2  # that an element takes at least: a digit and a comma
_CLASS_BYTES: Final = 6  # that a class takes at least: "1:0" and a comma


@dataclass(frozen=True, slots=True)
class Call:
    """What is to be computed: the version, its input arrays, and the outputs in the form the caller
    wants them.
    """

    manifest: Manifest
    arrays: Mapping[str, Array]
    outputs: tuple[oip.WantedOutput, ...]
    id: str

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs to compute, in the order asked for."""
        return tuple(wanted.name for wanted in self.outputs)


def decode_call(
    limits: Limits, manifest: Manifest, headers: Mapping[str, str], body: bytes
) -> Call:
    """Read a body and its lower-case headers into arrays; raises what ``oip.decode_infer`` and
    ``decompress`` raise.
    """
    plain = decompress(body, headers.get("content-encoding", ""), limits.max_decompressed_bytes)
    request = oip.decode_infer(plain, headers.get(oip.HEADER_LENGTH.lower()), manifest, limits)
    arrays = {tensor.name: tensors.decode(tensor) for tensor in request.inputs}
    return Call(manifest, arrays, request.outputs, request.id)


def encode_call(call: Call, results: Mapping[str, Array]) -> Response:
    """The answer to a call whose outputs were computed."""
    outputs = [
        _encode_output(results[wanted.name], wanted, call.manifest) for wanted in call.outputs
    ]
    body, json_length = oip_encoding.encode_infer(call.manifest, call.id, outputs)
    if json_length is None:
        return Response(200, body, {"Content-Type": JSON})
    return Response(200, body, {"Content-Type": OCTET_STREAM, oip.HEADER_LENGTH: str(json_length)})


def answer_bytes(manifest: Manifest, rows: int, outputs: Iterable[oip.WantedOutput]) -> int:
    """The bytes of an answer as Lambda returns it, at least: variable dimensions except the batch
    count as one.
    """
    specs = {spec.name: spec for spec in manifest.outputs}
    return sum(_least_bytes(specs[output.name], output, rows, manifest) for output in outputs)


def _least_bytes(spec: TensorSpec, wanted: oip.WantedOutput, rows: int, manifest: Manifest) -> int:
    axis = manifest.batch_axis(spec.name)
    batch, scores = 1 if axis is None else rows, _least_row(spec, axis)
    if wanted.classes:
        return batch * min(wanted.classes, scores) * _CLASS_BYTES
    item_bytes = datatype(spec.datatype).size_bytes or 4
    each = item_bytes * 4 / 3 if wanted.binary else _JSON_BYTES
    return math.ceil(batch * scores * each)


def _least_row(spec: TensorSpec, batch_axis: int | None) -> int:
    """The elements of one row of an output, at least."""
    return math.prod(max(size, 1) for axis, size in enumerate(spec.shape) if axis != batch_axis)


def _encode_output(array: Array, wanted: oip.WantedOutput, manifest: Manifest) -> WireTensor:
    spec = next(spec for spec in manifest.outputs if spec.name == wanted.name)
    if not wanted.classes:
        return tensors.encode(array, spec.name, spec.datatype, binary=wanted.binary)
    axis = manifest.batch_axis(spec.name)
    rows = array if axis is None else np.moveaxis(array, axis, 0)
    classes = classification.top_classes(rows, spec, wanted.classes, batched=axis is not None)
    return tensors.encode(classes, spec.name, "BYTES", binary=wanted.binary)
