"""From a request to an answer: the one path that every protocol and every transport takes.

``routes(engine)`` lists the endpoints. Inference decodes the request against the manifest, runs the
engine and encodes what comes back; everything else is answered from the catalog.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from onnxlift_runtime import catalog
from onnxlift_runtime.dataplane import routing
from onnxlift_runtime.dataplane.engine import Engine
from onnxlift_runtime.dataplane.routing import HEADER, Load
from onnxlift_runtime.describe import metadata
from onnxlift_runtime.describe.metadata import INFER_PATH, SERVING_PATH
from onnxlift_runtime.errors import ModelUnavailable
from onnxlift_runtime.http.encoding import decode_json, decompress
from onnxlift_runtime.http.message import Request, Response, Route
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.names import LAMBDA
from onnxlift_runtime.protocols import tfs
from onnxlift_runtime.protocols.oip import WantedOutput
from onnxlift_runtime.protocols.oip_call import answer_bytes, decode_call, encode_call
from onnxlift_runtime.protocols.tfs_call import decode_serving
from onnxlift_runtime.tensors.arrays import Array
from onnxlift_runtime.tensors.wire import expect, expect_mapping

Params = Mapping[str, str | None]
Admit = Callable[[Manifest, Load], str]


def routes(engine: Engine) -> tuple[Route, ...]:
    """Every endpoint of both protocols."""
    table = (
        ("GET", r"/v2/?", _server_metadata),
        ("GET", r"/v2/health/live", _live),
        ("GET", r"/v2/health/ready", _ready),
        ("GET", r"/v2/models/?", _model_list),
        ("POST", r"/v2/repository/index", _repository_index),
        ("POST", INFER_PATH, infer),
        ("GET", r"/v1/models/?", _model_list),
        ("POST", SERVING_PATH, serve),
    )
    own = (
        Route(method, re.compile(pattern), partial(answer, engine))
        for method, pattern, answer in table
    )
    return (*own, *metadata.routes(metadata.Directory(engine.catalog, engine.failures)))


def _server_metadata(_engine: Engine, _request: Request, _params: Params) -> Response:
    return Response.json(catalog.server_metadata())


def _live(_engine: Engine, _request: Request, _params: Params) -> Response:
    return Response.json({"live": True})


def _ready(engine: Engine, _request: Request, _params: Params) -> Response:
    """Ready while every version that was deployed can serve; otherwise 503 with the first
    reason.
    """
    for why in engine.failures.values():
        return Response.json({"ready": False, "error": why}, 503, ModelUnavailable(why).headers)
    return Response.json({"ready": True})


def _model_list(engine: Engine, _request: Request, _params: Params) -> Response:
    return Response.json(catalog.model_list(engine.catalog))


def _repository_index(engine: Engine, request: Request, _params: Params) -> Response:
    body = _body(engine, request).strip() or b"{}"
    document = expect_mapping(
        decode_json(body, max_bytes=engine.limits.max_json_bytes), "the request"
    )
    ready_only = expect(document.get("ready", False), bool, "'ready'")
    entries = catalog.repository_index(engine.catalog, engine.failures)
    return Response.json(
        [entry for entry in entries if entry["state"] == "READY" or not ready_only]
    )


def infer(engine: Engine, request: Request, params: Params) -> Response:
    """Open Inference Protocol inference, tensors as JSON or binary in both directions."""
    manifest = engine.catalog.find(params["model"] or "", params["version"])
    call = decode_call(engine.limits, manifest, request.headers, request.body)
    return encode_call(call, engine.run(call.manifest, call.arrays, call.output_names))


def serve(
    engine: Engine, request: Request, _params: Params, admit: Admit = lambda _manifest, _load: ""
) -> Response:
    """TensorFlow Serving's predict, classify and regress.

    ``admit`` may refuse what would take too long, and otherwise gives the reason that the answer's
    route tells.
    """
    target = tfs.decode_path(request.method, request.path)
    manifest = engine.catalog.find(target.model, target.version, target.label)
    call = decode_serving(target.verb, _body(engine, request), manifest, engine.limits)
    reason = admit(manifest, load_of(call.arrays, manifest))
    response = call.encode(engine.run(manifest, call.arrays, call.output_names))
    return (
        response.with_headers({HEADER: str(routing.Route(LAMBDA, True, reason))})
        if reason
        else response
    )


def load_of(
    arrays: Mapping[str, Array], manifest: Manifest, outputs: Iterable[WantedOutput] = ()
) -> Load:
    """How much a decoded request is."""
    batched = (
        array.shape[0] for array in arrays.values() if manifest.max_batch_size and array.ndim
    )
    rows = int(next(batched, 1))
    return Load(
        rows, sum(array.nbytes for array in arrays.values()), answer_bytes(manifest, rows, outputs)
    )


def _body(engine: Engine, request: Request) -> bytes:
    return decompress(
        request.body,
        request.headers.get("content-encoding", ""),
        engine.limits.max_decompressed_bytes,
    )
