"""Models that no function runs: told about from their manifests, and asked by jobs that are waited
for.

Requests are checked as far as that needs no arrays; the worker checks the rest, and the job fails
with its words.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.dataplane.routing import Hosting, Load, choose
from onnxlift_runtime.describe import metadata
from onnxlift_runtime.describe.metadata import INFER_PATH, SERVING_PATH, Params
from onnxlift_runtime.http.encoding import inflate
from onnxlift_runtime.http.message import HEADER_LENGTH, Request, Response, Route
from onnxlift_runtime.jobs.preferences import Preference, decode_prefer
from onnxlift_runtime.jobservice.requests import Intake
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.protocols import oip, tfs
from onnxlift_runtime.protocols.uploads import announced, names_uploads
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors.wire import WireTensor


@dataclass(frozen=True, slots=True)
class Remote:
    """The models, what the service has for each of them, and where requests become jobs."""

    models: Catalog
    hosting: Callable[[str], Hosting]
    intake: Intake
    limits: Limits


def routes(remote: Remote) -> tuple[Route, ...]:
    """Every endpoint of such a model."""
    posts = ((INFER_PATH, _infer), (SERVING_PATH, _serve))
    own = (Route("POST", re.compile(pattern), partial(answer, remote)) for pattern, answer in posts)
    return (*own, *metadata.routes(metadata.Directory(remote.models)))


def _infer(remote: Remote, request: Request, params: Params) -> Response:
    manifest = remote.models.find(params["model"] or "", params["version"])
    preference = decode_prefer(request.headers.get("prefer", ""))
    route = choose(
        _load(remote, request, manifest), manifest, preference, remote.hosting(manifest.name)
    )
    return remote.intake.accept(request, manifest, preference, route)


def _serve(remote: Remote, request: Request, _params: Params) -> Response:
    target = tfs.decode_path(request.method, request.path)
    manifest = remote.models.find(target.model, target.version, target.label)
    _, body = _plain(remote, request)
    if target.verb == "predict":
        inputs = tfs.decode_predict(body, manifest, remote.limits).inputs
    else:
        inputs = tfs.decode_examples(body, manifest, remote.limits)
    route = choose(
        _load_of(inputs, manifest, len(body)), manifest, Preference(), remote.hosting(manifest.name)
    )
    return remote.intake.serve(request, manifest, target.verb, route)


def _load(remote: Remote, request: Request, manifest: Manifest) -> Load:
    """How much a request is; raises what ``oip.decode_infer`` raises."""
    headers, body = _plain(remote, request)
    if names_uploads(headers, body, remote.limits):
        return Load(*announced(headers, body, remote.limits))
    found = oip.decode_infer(body, headers.get(HEADER_LENGTH.lower()), manifest, remote.limits)
    return _load_of(found.inputs, manifest, len(body))


def _load_of(inputs: tuple[WireTensor, ...], manifest: Manifest, size_bytes: int) -> Load:
    batched = (tensor.shape[0] for tensor in inputs if manifest.max_batch_size and tensor.shape)
    return Load(next(batched, 1), size_bytes)


def _plain(remote: Remote, request: Request) -> tuple[Mapping[str, str], bytes]:
    return inflate(request.headers, request.body, remote.limits.max_decompressed_bytes)
