"""The function of one model behind API Gateway or a function URL: both protocols, at once or as a
job.

boto3 is loaded for jobs and uploads alone: it would double the time of a cold start.
"""

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from onnxlift_runtime import telemetry
from onnxlift_runtime.dataplane.endpoints import load_of, routes, serve
from onnxlift_runtime.dataplane.engine import Engine
from onnxlift_runtime.dataplane.routing import HEADER, Hosting, Load, check_at_once, choose
from onnxlift_runtime.describe.metadata import INFER_PATH, SERVING_PATH
from onnxlift_runtime.errors import MalformedRequest
from onnxlift_runtime.http.edge import answer_event
from onnxlift_runtime.http.encoding import compress, inflate
from onnxlift_runtime.http.message import Request, Response, Route, dispatch
from onnxlift_runtime.jobs.preferences import decode_prefer
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.protocols.oip_call import decode_call, encode_call
from onnxlift_runtime.protocols.uploads import announced, fill_in, names_uploads
from onnxlift_runtime.settings import Settings

if TYPE_CHECKING:
    from onnxlift_runtime.jobservice.requests import Intake

Params = Mapping[str, str | None]


def handler(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
    """Answer one API Gateway REST, HTTP API or function URL event; every failure is an answer,
    never an exception.
    """
    return answer_event(event, lambda request: _compressed(dispatch(_routes(), request), request))


@functools.cache
def engine() -> Engine:
    """Every model of this function, opened on the first call: Lambda makes that call while it
    starts the function.
    """
    telemetry.configure(settings().log_level)
    return Engine.open(settings())


@functools.cache
def settings() -> Settings:
    """What this function was told, read once: to read it takes as long as an inference of a small
    model.
    """
    return Settings.from_env(os.environ)


@functools.cache
def intake() -> "Intake":
    """Where requests become jobs, made for the first that does."""
    from onnxlift_runtime.jobservice.wiring import open_intake

    return open_intake(settings())


@functools.cache
def _routes() -> tuple[Route, ...]:
    posts = (
        Route("POST", re.compile(INFER_PATH), _infer),
        Route("POST", re.compile(SERVING_PATH), _serve),
    )
    return (*posts, *routes(engine()))


def _infer(request: Request, params: Params) -> Response:
    """Inference at once, or as a job where the caller prefers one or it would be too much for one
    answer.
    """
    opened = engine()
    manifest = opened.catalog.find(params["model"] or "", params["version"])
    preference = decode_prefer(request.headers.get("prefer", ""))
    decide = functools.partial(
        choose, manifest=manifest, preference=preference, hosting=_hosting(manifest.name)
    )
    headers, body = inflate(request.headers, request.body, opened.limits.max_decompressed_bytes)
    if names_uploads(headers, body, opened.limits):
        route = decide(Load(*announced(headers, body, opened.limits)))
        if not route.at_once:
            return intake().accept(request, manifest, preference, route)
        headers, body = _filled_in(request.caller, headers, body)
    call = decode_call(opened.limits, manifest, headers, body)
    route = decide(load_of(call.arrays, manifest, call.outputs))
    if not route.at_once:
        return intake().accept(request, manifest, preference, route)
    results = opened.run(manifest, call.arrays, call.output_names)
    return encode_call(call, results).with_headers({HEADER: str(route)})


def _serve(request: Request, params: Params) -> Response:
    """TensorFlow Serving's inference, at once or not at all: its protocol knows no jobs."""
    return serve(engine(), request, params, _admit)


def _admit(manifest: Manifest, load: Load) -> str:
    return check_at_once(load, manifest, _hosting(manifest.name))


def _hosting(model: str) -> Hosting:
    return Hosting.of(
        settings(), model, int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0"))
    )


def _filled_in(
    caller: str, headers: Mapping[str, str], body: bytes
) -> tuple[Mapping[str, str], bytes]:
    if not settings().data_bucket:
        raise MalformedRequest("this service takes no uploads; send the data with the request")
    store = intake().service.store
    return fill_in(
        headers,
        body,
        lambda reference, max_bytes: store.fetch_upload(reference, caller, max_bytes),
        engine().limits,
    )


def _compressed(response: Response, request: Request) -> Response:
    body, encoding = compress(response.body, request.headers.get("accept-encoding", ""))
    if not encoding:
        return response
    return replace(response, body=body).with_headers(
        {"Content-Encoding": encoding, "Vary": "Accept-Encoding"}
    )


# Lambda alone sets this, while it starts the function: the first request then finds the models
# open.
if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    engine()
