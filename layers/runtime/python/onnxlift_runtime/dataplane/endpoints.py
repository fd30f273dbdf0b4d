"""From a request to an answer: the one path that every protocol, transport and function takes.

Inference decodes the request against the manifest, chooses its route, and then either answers at
once or hands the request over as a job. What differs between functions is the ``Plane``: `predict`
decodes arrays and runs them, models on GPU workers alone are only checked and never run here. This
module loads neither numpy nor onnxruntime.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from onnxlift_runtime.dataplane.routing import (
    HEADER,
    Hosting,
    Load,
    Route,
    choose,
    choose_without_jobs,
)
from onnxlift_runtime.describe import metadata
from onnxlift_runtime.describe.server import Directory, Params
from onnxlift_runtime.http import message
from onnxlift_runtime.http.encoding import inflate
from onnxlift_runtime.http.message import Request, Response
from onnxlift_runtime.http.routes import MODEL, SERVING, bind
from onnxlift_runtime.jobs.preferences import Preference, decode_prefer
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.protocols import tfs
from onnxlift_runtime.protocols.uploads import Fetch, announced, fill_in, names_uploads

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that fits its model: how much it is, and what answers it here and now."""

    load: Load
    answer: Callable[[], Response]


class Executor(Protocol):
    """What checks plain requests and can answer them."""

    def infer(self, manifest: Manifest, headers: Headers, body: bytes) -> Prepared:
        """Prepare an Open Inference Protocol request; raises what ``oip.decode_infer`` raises."""
        ...

    def serve(self, manifest: Manifest, verb: str, body: bytes) -> Prepared:
        """Prepare a request of TensorFlow Serving; raises what the decoders of ``tfs`` raise."""
        ...


class Jobs(Protocol):
    """Where requests become jobs."""

    def accept(
        self, request: Request, manifest: Manifest, preference: Preference, route: Route
    ) -> Response:
        """Answer an inference that becomes a job."""
        ...

    def serve(self, request: Request, manifest: Manifest, verb: str, route: Route) -> Response:
        """Answer a request of TensorFlow Serving with that of a job."""
        ...


@dataclass(frozen=True, slots=True)
class Plane:
    """What one function has for the endpoints of models.

    ``hosting`` describes where a model runs. ``jobs`` is called for the first request that becomes
    one, and ``uploads`` gives the fetch of a caller whose request names uploads: both may load
    boto3.
    """

    directory: Directory
    hosting: Callable[[str], Hosting]
    executor: Executor
    jobs: Callable[[], Jobs]
    uploads: Callable[[str], Fetch]


def routes(plane: Plane) -> tuple[message.Route, ...]:
    """Every endpoint of a model."""
    reads = tuple(row for row in (*MODEL, *SERVING) if row.method == "GET")
    posts = tuple(row for row in (*MODEL, *SERVING) if row.method == "POST")
    return (*bind(posts, _HANDLERS, plane), *bind(reads, metadata.HANDLERS, plane.directory))


def infer(plane: Plane, request: Request, params: Params) -> Response:
    """Open Inference Protocol inference: at once, or as a job where the caller prefers one or it
    would be too much for one answer.
    """
    manifest, limits = plane.directory.find(params), plane.directory.limits
    preference = decode_prefer(request.headers.get("prefer", ""))
    hosting = plane.hosting(manifest.name)
    headers, body = inflate(request.headers, request.body, limits.max_decompressed_bytes)
    if names_uploads(headers, body, limits):
        route = choose(Load(*announced(headers, body, limits)), manifest, preference, hosting)
        if not route.at_once:
            return plane.jobs().accept(request, manifest, preference, route)
        headers, body = fill_in(headers, body, plane.uploads(request.caller), limits)
    prepared = plane.executor.infer(manifest, headers, body)
    route = choose(prepared.load, manifest, preference, hosting)
    if not route.at_once:
        return plane.jobs().accept(request, manifest, preference, route)
    return prepared.answer().with_headers({HEADER: str(route)})


def serve(plane: Plane, request: Request, _params: Params) -> Response:
    """TensorFlow Serving's predict, classify and regress: its protocol knows no jobs."""
    target = tfs.decode_path(request.method, request.path)
    directory = plane.directory
    manifest = directory.models.find(target.model, target.version, target.label)
    _, body = inflate(request.headers, request.body, directory.limits.max_decompressed_bytes)
    prepared = plane.executor.serve(manifest, target.verb, body)
    route = choose_without_jobs(prepared.load, manifest, plane.hosting(manifest.name))
    if not route.at_once:
        return plane.jobs().serve(request, manifest, target.verb, route)
    return prepared.answer().with_headers({HEADER: str(route)})


_HANDLERS: Final[Mapping[str, Callable[[Plane, Request, Params], Response]]] = {
    "infer": infer,
    "predict": serve,
    "classify": serve,
    "regress": serve,
}
