"""The function of one model behind API Gateway or a function URL: both protocols, at once or as a job.

boto3 is loaded for jobs and uploads alone: it would double the time of a cold start.
"""

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from onnxlift_runtime import telemetry
from onnxlift_runtime.dataplane import INFER_PATH, infer, routes
from onnxlift_runtime.edge import answer_event
from onnxlift_runtime.engine import Engine
from onnxlift_runtime.errors import MalformedRequest
from onnxlift_runtime.http import Request, Response, Route, dispatch
from onnxlift_runtime.inference import decode_call
from onnxlift_runtime.payload import compress
from onnxlift_runtime.preferences import decode_prefer
from onnxlift_runtime.settings import Settings
from onnxlift_runtime.uploads import fill_in, names_uploads

if TYPE_CHECKING:
    from onnxlift_runtime.aws.intake import Intake

Params = Mapping[str, str | None]

AT_ONCE: Final = {"X-Onnxlift-Route": 'lambda; reason="answered within the request"'}


def handler(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
    """Answer one API Gateway REST, HTTP API or function URL event; every failure is an answer, never an exception."""
    return answer_event(event, lambda request: _compressed(dispatch(_routes(), request), request))


@functools.cache
def engine() -> Engine:
    """Every model of this function, opened on the first call: Lambda makes that call while it starts the function."""
    telemetry.configure(settings().log_level)
    return Engine.open(settings())


def settings() -> Settings:
    """What this function was told."""
    return Settings.from_env(os.environ)


@functools.cache
def intake() -> "Intake":
    """Where requests become jobs, made for the first that does."""
    from onnxlift_runtime.aws.connection import connect
    from onnxlift_runtime.aws.intake import Intake

    return Intake(connect(settings()), webhooks=bool(settings().webhook_secret))


@functools.cache
def _routes() -> tuple[Route, ...]:
    return (Route("POST", re.compile(INFER_PATH), _infer), *routes(engine()))


def _infer(request: Request, params: Params) -> Response:
    """Inference at once, or as a job where the caller prefers one; a service without jobs ignores the preference."""
    preference = decode_prefer(request.headers.get("prefer", ""))
    if not preference.job or not settings().jobs_table:
        return infer(engine(), _with_uploads(request), params).with_headers(AT_ONCE)
    opened = engine()
    manifest = opened.catalog.find(params["model"] or "", params["version"])
    if not names_uploads(request.headers, request.body, opened.limits):
        decode_call(opened.limits, manifest, request.headers, request.body)  # what cannot be run is refused at once
    return intake().accept(request, manifest, preference)


def _with_uploads(request: Request) -> Request:
    limits = engine().limits
    if not names_uploads(request.headers, request.body, limits):
        return request
    if not settings().data_bucket:
        raise MalformedRequest("this service takes no uploads; send the data with the request")
    store = intake().service.store
    headers, body = fill_in(
        request.headers,
        request.body,
        lambda reference, max_bytes: store.fetch_upload(reference, request.caller, max_bytes),
        limits,
    )
    return replace(request, headers=headers, body=body)


def _compressed(response: Response, request: Request) -> Response:
    body, encoding = compress(response.body, request.headers.get("accept-encoding", ""))
    if not encoding:
        return response
    return replace(response, body=body).with_headers({"Content-Encoding": encoding, "Vary": "Accept-Encoding"})


# Lambda alone sets this, while it starts the function: the first request then finds the models open.
if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    engine()
