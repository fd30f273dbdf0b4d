"""Every endpoint of the service, in one table: the method, the path, the operation, its function.

The gateway, ``onnxlift serve`` and the OpenAPI document follow this table, and so do the functions,
which bind a handler to each operation. A new endpoint is a row here, its handler, and its operation
in ``describe``.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any, Final, NamedTuple

from onnxlift_runtime.http.message import Response, Route

PREDICT: Final = "predict"
CONTROL: Final = "control"
MODEL_ROOT: Final = "/v2/models/{model}"
SERVING_ROOT: Final = "/v1/models/{model}"


class Endpoint(NamedTuple):
    """One row; ``path`` is a template, and ``slash`` says that it also answers with a slash at its
    end.

    API Gateway sends the endpoints of ``PREDICT`` to the function of the model that the path names.
    """

    function: str
    method: str
    path: str
    operation: str
    slash: bool = False


SERVER: Final = (
    Endpoint(CONTROL, "GET", "/v2", "serverMetadata", slash=True),
    Endpoint(CONTROL, "GET", "/v2/health/live", "live"),
    Endpoint(CONTROL, "GET", "/v2/health/ready", "ready"),
    Endpoint(CONTROL, "GET", "/v2/models", "models", slash=True),
    Endpoint(CONTROL, "GET", "/v1/models", "servingModels", slash=True),
    Endpoint(CONTROL, "POST", "/v2/repository/index", "repositoryIndex"),
)
DOCUMENTATION: Final = (
    Endpoint(CONTROL, "GET", "/openapi.json", "openapi"),
    Endpoint(CONTROL, "GET", "/docs", "docs", slash=True),
)
# Each of them also exists below a version, and TensorFlow Serving's below a label.
MODEL: Final = (
    Endpoint(PREDICT, "GET", MODEL_ROOT, "metadata"),
    Endpoint(PREDICT, "GET", MODEL_ROOT + "/ready", "ready"),
    Endpoint(PREDICT, "GET", MODEL_ROOT + "/config", "config"),
    Endpoint(PREDICT, "POST", MODEL_ROOT + "/infer", "infer"),
)
SERVING: Final = (
    Endpoint(PREDICT, "GET", SERVING_ROOT, "status"),
    Endpoint(PREDICT, "GET", SERVING_ROOT + "/metadata", "servingMetadata"),
    Endpoint(PREDICT, "POST", SERVING_ROOT + ":predict", "predict"),
    Endpoint(PREDICT, "POST", SERVING_ROOT + ":classify", "classify"),
    Endpoint(PREDICT, "POST", SERVING_ROOT + ":regress", "regress"),
)
JOBS: Final = (
    Endpoint(CONTROL, "GET", "/v2/jobs", "jobs", slash=True),
    Endpoint(CONTROL, "GET", "/v2/jobs/{job}", "job"),
    Endpoint(CONTROL, "GET", "/v2/jobs/{job}/result", "jobResult"),
    Endpoint(CONTROL, "POST", "/v2/jobs/{job}/cancel", "cancelJob"),
    Endpoint(CONTROL, "POST", "/v2/jobs/{job}/retry", "retryJob"),
    Endpoint(CONTROL, "POST", "/v2/uploads", "upload", slash=True),
    Endpoint(CONTROL, "GET", "/v2/webhooks/secret", "webhookSecret"),
)

_VERSION: Final = r"(?:/versions/(?P<version>[^/]+))?"
# TensorFlow Serving's paths count in any case and are refused in the protocol's own words, so its
# handlers read them.
_ANY_SERVING: Final = r"(?i:/v1/models/.*)"
_NAMED_MODEL: Final = re.compile(
    f"(?:{'|'.join(root.removesuffix('{model}') for root in (MODEL_ROOT, SERVING_ROOT))})"
    r"(?P<model>[^/:]+)(?P<one>/(?:versions|labels)/)?"
)
_JOBS_PATH: Final = re.compile(
    f"/v2/(?:{'|'.join(dict.fromkeys(row.path.split('/')[2] for row in JOBS))})(?:/.*)?"
)


def bind(
    endpoints: Iterable[Endpoint], handlers: Mapping[str, Callable[..., Response]], context: Any
) -> tuple[Route, ...]:
    """The routes of these endpoints; each handler takes the context, the request and the
    parameters of its path.

    Raises ``KeyError`` where an operation has no handler.
    """
    return tuple(
        Route(row.method, pattern(row), partial(handlers[row.operation], context))
        for row in endpoints
    )


@cache
def pattern(endpoint: Endpoint) -> re.Pattern[str]:
    """What the paths of an endpoint look like."""
    if endpoint.path.startswith(SERVING_ROOT):
        return re.compile(_ANY_SERVING)
    named = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(endpoint.path))
    if endpoint.path.startswith(MODEL_ROOT):
        named = named.replace("(?P<model>[^/]+)", f"(?P<model>[^/]+){_VERSION}")
    return re.compile(named + ("/?" if endpoint.slash else ""))


def named_model(path: str) -> str:
    """The model whose function answers ``path``; empty where ``control`` does."""
    found = _NAMED_MODEL.match(path)
    return found["model"] if found else ""


def is_below_version(path: str) -> bool:
    """Whether ``path`` names one version or label of a model."""
    found = _NAMED_MODEL.match(path)
    return bool(found and found["one"])


def is_of_jobs(path: str) -> bool:
    """Whether ``path`` is one of the jobs' paths, or lies below one."""
    return _JOBS_PATH.fullmatch(path) is not None
