"""The function of the service as a whole: what there is, whether it lives, and how to call it."""

import functools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from onnxlift_runtime import catalog, telemetry
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.describe import docs_page, openapi
from onnxlift_runtime.errors import MalformedRequest, PathNotFound
from onnxlift_runtime.http.edge import answer_event
from onnxlift_runtime.http.message import Request, Response, Route, dispatch
from onnxlift_runtime.manifest import read_manifests
from onnxlift_runtime.names import JOIN, LAMBDA, SWEEP_EVENT
from onnxlift_runtime.settings import Settings
from onnxlift_runtime.tensors.wire import expect_mapping

if TYPE_CHECKING:
    from onnxlift_runtime.jobservice.endpoints import Desk

Params = Mapping[str, str | None]

_MODEL_PATH: Final = re.compile(r"/v[12]/models/([^/:]+)")
_JOBS_PATH: Final = re.compile(r"/v2/(?:jobs|uploads|webhooks)(?:/.*)?")
# The page holds its own style and nothing else: a model's name or label cannot make it load or run
# anything.
_PAGE_HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}


def handler(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
    """Answer one API Gateway REST, HTTP API or function URL event; every failure is an answer,
    never an exception.

    The schedule's own event has the jobs swept instead, and is answered with what was done.
    """
    return _sweep() if event == SWEEP_EVENT else answer_event(event, _answer)


def _answer(request: Request) -> Response:
    """A model that runs on GPU workers alone is answered for here; any other has a function of its
    own.
    """
    named = _MODEL_PATH.match(request.path)
    if named and named[1] in service().gpu_models:
        return dispatch(_remote_routes(), request)
    if _JOBS_PATH.fullmatch(request.path):
        return _jobs(request)
    try:
        return dispatch(_ROUTES, request)
    except PathNotFound:
        if named:
            service().models.versions(named[1])  # what comes here names a model that does not exist
        raise


@dataclass(frozen=True)
class Service:
    """What this function tells about."""

    settings: Settings
    models: Catalog

    @functools.cached_property
    def gpu_models(self) -> frozenset[str]:
        """The models that run on GPU workers alone."""
        return frozenset(
            name for name in self.models.models if LAMBDA not in self.settings.tiers_of(name)
        )

    @functools.cached_property
    def document(self) -> openapi.Document:
        """The OpenAPI document, made when it is first asked for."""
        settings = self.settings
        return openapi.describe(
            self.models,
            title=settings.service,
            api_key_required=settings.api_key_required,
            jobs=bool(settings.jobs_table),
            gpu_models=self.gpu_models,
        )


@functools.cache
def service() -> Service:
    """The service as its manifests describe it, read on the first call."""
    settings = Settings.from_env(os.environ)
    telemetry.configure(settings.log_level)
    return Service(settings, Catalog.of(read_manifests(settings.models_dir)))


@functools.cache
def desk() -> "Desk":
    """What the endpoints of jobs work with; boto3 takes 200 ms to load, which only they need."""
    from onnxlift_runtime.jobservice.endpoints import Desk
    from onnxlift_runtime.jobservice.notifier import open_herald
    from onnxlift_runtime.jobservice.wiring import connect

    settings = service().settings
    connected = connect(settings)
    herald = open_herald(settings, connected)
    return Desk(connected, herald, service().models, settings, settings.limits)


@functools.cache
def _job_routes() -> tuple[Route, ...]:
    from onnxlift_runtime.jobservice.endpoints import routes

    return routes(desk())


@functools.cache
def _remote_routes() -> tuple[Route, ...]:
    from onnxlift_runtime.dataplane.routing import Hosting
    from onnxlift_runtime.jobservice.gpu_only import Remote, routes
    from onnxlift_runtime.jobservice.wiring import open_intake

    told = service()
    hosting = functools.partial(Hosting.of, told.settings)
    return routes(Remote(told.models, hosting, open_intake(told.settings), told.settings.limits))


def _jobs(request: Request) -> Response:
    if not service().settings.jobs_table:
        raise PathNotFound("this service has no jobs")
    return dispatch(_job_routes(), request)


def _sweep() -> dict[str, Any]:
    from onnxlift_runtime.jobservice.sweep import sweep

    settings = service().settings
    queues = [
        (model, tier)
        for model in service().models.models
        for tier in (*settings.tiers_of(model), JOIN)
    ]
    with desk().service.meter.gathered("control"):
        done = sweep(desk().service, desk().herald, queues)
    telemetry.log("info", "jobs swept", **done)
    return done


def _server_metadata(_request: Request, _params: Params) -> Response:
    return Response.json(catalog.server_metadata())


def _live(_request: Request, _params: Params) -> Response:
    return Response.json({"live": True})


def _ready(_request: Request, _params: Params) -> Response:
    """Ready as soon as the manifests can be read; ``/v2/models/{model}/ready`` asks the model's own
    function.
    """
    service()
    return Response.json({"ready": True})


def _model_list(_request: Request, _params: Params) -> Response:
    return Response.json(catalog.model_list(service().models))


def _repository_index(request: Request, _params: Params) -> Response:
    """Every version that was deployed is ready, so ``{"ready": true}`` leaves none of them out."""
    try:
        expect_mapping(json.loads(request.body or b"{}"), "the request")
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from error
    return Response.json(catalog.repository_index(service().models, {}))


def _openapi(_request: Request, _params: Params) -> Response:
    return Response.json(service().document)


def _docs(_request: Request, _params: Params) -> Response:
    return Response(200, docs_page.render(service().document).encode(), _PAGE_HEADERS)


_ROUTES: Final = tuple(
    Route(method, re.compile(pattern), answer)
    for method, pattern, answer in (
        ("GET", r"/v2/?", _server_metadata),
        ("GET", r"/v2/health/live", _live),
        ("GET", r"/v2/health/ready", _ready),
        ("GET", r"/v[12]/models/?", _model_list),
        ("POST", r"/v2/repository/index", _repository_index),
        ("GET", r"/openapi\.json", _openapi),
        ("GET", r"/docs/?", _docs),
    )
)
