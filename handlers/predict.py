"""The function of one model behind API Gateway or a function URL: both protocols, at once or as a
job.

boto3 is loaded for jobs and uploads alone: it would double the time of a cold start.
"""

import functools
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from onnxlift_runtime import telemetry
from onnxlift_runtime.dataplane import endpoints
from onnxlift_runtime.dataplane.endpoints import Plane
from onnxlift_runtime.dataplane.engine import Engine
from onnxlift_runtime.dataplane.execution import EngineExecutor
from onnxlift_runtime.dataplane.routing import Hosting
from onnxlift_runtime.describe import server
from onnxlift_runtime.describe.server import Directory
from onnxlift_runtime.errors import MalformedRequest
from onnxlift_runtime.http.edge import answer_event
from onnxlift_runtime.http.encoding import compress
from onnxlift_runtime.http.message import Request, Response, Route, dispatch
from onnxlift_runtime.protocols.uploads import Fetch
from onnxlift_runtime.settings import Settings

if TYPE_CHECKING:
    from onnxlift_runtime.jobservice.requests import Intake


def handler(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
    """Answer one API Gateway REST, HTTP API or function URL event; every failure is an answer,
    never an exception.
    """
    return answer_event(
        event,
        lambda request: _compressed(dispatch(_routes(), request), request),
        lambda: settings().limits,
    )


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
    opened = engine()
    directory = Directory(opened.catalog, opened.failures, opened.limits)
    plane = Plane(directory, _hosting, EngineExecutor(opened), intake, _uploads)
    return (*server.routes(directory), *endpoints.routes(plane))


def _hosting(model: str) -> Hosting:
    return Hosting.of(
        settings(), model, int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0"))
    )


def _uploads(caller: str) -> Fetch:
    """How the uploads of a caller are fetched."""
    if not settings().data_bucket:
        raise MalformedRequest("this service takes no uploads; send the data with the request")
    store = intake().service.store
    return lambda reference, max_bytes: store.fetch_upload(reference, caller, max_bytes)


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
