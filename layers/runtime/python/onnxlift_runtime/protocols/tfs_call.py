"""One TensorFlow Serving call, apart from how it came: the same for a waiting request and for a
job.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from onnxlift_runtime.http.encoding import encode_json
from onnxlift_runtime.http.encoding import encode_json_with_nan as encode_nan
from onnxlift_runtime.http.message import JSON, Response
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.protocols import classification, tfs
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors import arrays as tensors
from onnxlift_runtime.tensors.arrays import Array
from onnxlift_runtime.tensors.datatypes import datatype
from onnxlift_runtime.tensors.wire import WireTensor

Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class ServingCall:
    """What is to be computed: the input arrays, all outputs of the model, and how the answer is
    written.
    """

    manifest: Manifest
    arrays: Arrays
    encode: Callable[[Arrays], Response]

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs to compute."""
        return tuple(spec.name for spec in self.manifest.outputs)


def decode_serving(verb: str, body: bytes, manifest: Manifest, limits: Limits) -> ServingCall:
    """Read the plain body of ``predict``, ``classify`` or ``regress``; raises what the decoders of
    ``tfs`` raise.
    """
    if verb == "predict":
        call = tfs.decode_predict(body, manifest, limits)
        row = (
            call.row
        )  # what is kept of the request: its lists take ten times as much as their arrays
        return ServingCall(
            manifest, _arrays(call.inputs), lambda found: _predictions(found, manifest, row=row)
        )
    examples = _arrays(tfs.decode_examples(body, manifest, limits))
    answer = classification.classify if verb == "classify" else classification.regress
    return ServingCall(
        manifest,
        examples,
        lambda found: _json(encode_nan({"results": answer(dict(found), manifest)})),
    )


def _predictions(arrays: Arrays, manifest: Manifest, *, row: bool) -> Response:
    """The fast JSON writer knows no NaN, which this protocol writes as a bare word; such answers
    take the slow one.
    """
    finite = all(_is_finite(arrays[spec.name], spec.datatype) for spec in manifest.outputs)
    outputs = [
        tensors.encode(arrays[spec.name], spec.name, spec.datatype, binary=False)
        for spec in manifest.outputs
    ]
    if finite:
        return _json(encode_json(tfs.encode_predict(outputs, row=row)))
    return _json(
        encode_nan(tfs.encode_predict([_with_short_floats(tensor) for tensor in outputs], row=row))
    )


def _arrays(inputs: tuple[WireTensor, ...]) -> Arrays:
    return {tensor.name: tensors.decode(tensor) for tensor in inputs}


def _json(body: bytes) -> Response:
    return Response(200, body, {"Content-Type": JSON})


def _is_finite(array: Array, datatype_name: str) -> bool:
    if datatype(datatype_name).kind != "float":
        return True
    return bool(
        np.isfinite(tensors.bfloat16_to_float32(array) if datatype_name == "BF16" else array).all()
    )


def _with_short_floats(tensor: WireTensor) -> WireTensor:
    if datatype(tensor.datatype).kind != "float":
        return tensor
    return WireTensor(
        tensor.name, tensor.datatype, tensor.shape, tensors.shortest_floats(tensor.data)
    )
