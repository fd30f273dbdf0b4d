"""Models that no function runs: requests are checked here, and answered by jobs that are waited
for.

They are checked as far as that needs no arrays; the worker checks the rest, and the job fails with
its words.
"""

from collections.abc import Callable
from dataclasses import dataclass

from onnxlift_runtime.dataplane.endpoints import Headers, Plane, Prepared
from onnxlift_runtime.dataplane.routing import Hosting, Load
from onnxlift_runtime.describe.server import Directory
from onnxlift_runtime.errors import MalformedRequest, ModelUnavailable
from onnxlift_runtime.http.message import HEADER_LENGTH, Response
from onnxlift_runtime.jobservice.requests import Intake
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.protocols import oip, tfs
from onnxlift_runtime.protocols.uploads import Fetch
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors.wire import WireTensor, count_rows


def plane(directory: Directory, hosting: Callable[[str], Hosting], intake: Intake) -> Plane:
    """The endpoints of such models; their requests become jobs in ``intake``."""
    return Plane(directory, hosting, CheckOnly(directory.limits), lambda: intake, _no_uploads)


@dataclass(frozen=True, slots=True)
class CheckOnly:
    """Checks requests and measures them; a model on GPU workers alone is always given a job."""

    limits: Limits

    def infer(self, manifest: Manifest, headers: Headers, body: bytes) -> Prepared:
        """Check an Open Inference Protocol request."""
        found = oip.decode_infer(body, headers.get(HEADER_LENGTH.lower()), manifest, self.limits)
        return _prepared(found.inputs, manifest, len(body))

    def serve(self, manifest: Manifest, verb: str, body: bytes) -> Prepared:
        """Check a request of TensorFlow Serving."""
        if verb == "predict":
            inputs = tfs.decode_predict(body, manifest, self.limits).inputs
        else:
            inputs = tfs.decode_examples(body, manifest, self.limits)
        return _prepared(inputs, manifest, len(body))


def _prepared(inputs: tuple[WireTensor, ...], manifest: Manifest, size_bytes: int) -> Prepared:
    rows = count_rows({tensor.name: tensor.shape for tensor in inputs}, manifest)

    def answer() -> Response:
        raise ModelUnavailable(f"model {manifest.name!r} runs on GPU workers alone")

    return Prepared(Load(rows, size_bytes), answer)


def _no_uploads(_caller: str) -> Fetch:
    raise MalformedRequest("uploads of models on GPU workers alone are fetched by the workers")
