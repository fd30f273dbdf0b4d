"""Where a function meets its event: one request comes in, one answer goes out, and no exception
gets past.
"""

import traceback
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from onnxlift_runtime import telemetry
from onnxlift_runtime.errors import OnnxliftError
from onnxlift_runtime.http.message import Request, Response
from onnxlift_runtime.settings import Limits


def answer_event(
    event: Mapping[str, Any],
    answer: Callable[[Request], Response],
    limits: Callable[[], Limits] = Limits,
) -> dict[str, Any]:
    """Answer one API Gateway REST, HTTP API or function URL event with ``answer``, and write one
    line about it.

    ``limits`` gives the bounds of both bodies; it is called here so that what it raises becomes an
    answer.
    An ``OnnxliftError`` becomes an answer with its status and message; any other exception a 500
    whose cause stands in the log alone.
    """
    started = perf_counter()
    request = Request("", "")
    try:
        bounds = limits()
        request = Request.from_event(event, bounds)
        response = answer(request)
        result = response.to_event(bounds)
    except OnnxliftError as error:
        response = Response.error(error)
        if response.status >= 500:
            telemetry.log("error", "cannot answer", why=str(error), request_id=request.request_id)
        result = response.to_event()
    except Exception:
        telemetry.log(
            "error",
            "unexpected failure",
            trace=traceback.format_exc(),
            request_id=request.request_id,
        )
        response = Response.json(
            {"error": "unexpected failure; the function's log has the details"}, 500
        )
        result = response.to_event()
    telemetry.log(
        "info",
        "answered",
        request_id=request.request_id,
        method=request.method,
        path=request.path,
        status=response.status,
        duration_ms=round((perf_counter() - started) * 1000, 2),
    )
    return result
