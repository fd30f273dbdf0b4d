"""The function of one model behind API Gateway or a function URL: both protocols, synchronously."""

import functools
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from onnxlift_runtime import telemetry
from onnxlift_runtime.dataplane import routes
from onnxlift_runtime.edge import answer_event
from onnxlift_runtime.engine import Engine
from onnxlift_runtime.http import Request, Response, Route, dispatch
from onnxlift_runtime.payload import compress
from onnxlift_runtime.settings import Settings


def handler(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
    """Answer one API Gateway REST, HTTP API or function URL event; every failure is an answer, never an exception."""
    return answer_event(event, lambda request: _compressed(dispatch(_routes(), request), request))


@functools.cache
def engine() -> Engine:
    """Every model of this function, opened on the first call: Lambda makes that call while it starts the function."""
    settings = Settings.from_env(os.environ)
    telemetry.configure(settings.log_level)
    return Engine.open(settings)


@functools.cache
def _routes() -> tuple[Route, ...]:
    return routes(engine())


def _compressed(response: Response, request: Request) -> Response:
    body, encoding = compress(response.body, request.headers.get("accept-encoding", ""))
    if not encoding:
        return response
    return replace(response, body=body).with_headers({"Content-Encoding": encoding, "Vary": "Accept-Encoding"})


# Lambda alone sets this, while it starts the function: the first request then finds the models open.
if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    engine()
