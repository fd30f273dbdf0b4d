"""Requests answered by the sessions of this process."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onnxlift_runtime.dataplane.endpoints import Headers, Prepared
from onnxlift_runtime.dataplane.engine import Engine
from onnxlift_runtime.dataplane.routing import Load
from onnxlift_runtime.http.message import Response
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.protocols.oip import WantedOutput
from onnxlift_runtime.protocols.oip_call import answer_bytes, decode_call, encode_call
from onnxlift_runtime.protocols.tfs_call import decode_serving
from onnxlift_runtime.tensors.arrays import Array
from onnxlift_runtime.tensors.wire import count_rows


@dataclass(frozen=True, slots=True)
class EngineExecutor:
    """Decodes requests into arrays and runs them on an engine."""

    engine: Engine

    def infer(self, manifest: Manifest, headers: Headers, body: bytes) -> Prepared:
        """Prepare an Open Inference Protocol request, tensors as JSON or binary in both
        directions.
        """
        call = decode_call(self.engine.limits, manifest, headers, body)

        def answer() -> Response:
            return encode_call(call, self.engine.run(manifest, call.arrays, call.output_names))

        return Prepared(load_of(call.arrays, manifest, call.outputs), answer)

    def serve(self, manifest: Manifest, verb: str, body: bytes) -> Prepared:
        """Prepare a request of TensorFlow Serving."""
        call = decode_serving(verb, body, manifest, self.engine.limits)

        def answer() -> Response:
            return call.encode(self.engine.run(manifest, call.arrays, call.output_names))

        return Prepared(load_of(call.arrays, manifest), answer)


def load_of(
    arrays: Mapping[str, Array], manifest: Manifest, outputs: Iterable[WantedOutput] = ()
) -> Load:
    """How much a decoded request is."""
    rows = count_rows({name: array.shape for name, array in arrays.items()}, manifest)
    return Load(
        rows, sum(array.nbytes for array in arrays.values()), answer_bytes(manifest, rows, outputs)
    )
