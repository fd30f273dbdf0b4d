"""The function of the service as a whole: what there is, whether it lives, and how to call it."""

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from onnxlift_runtime import telemetry
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.describe import docs_page, openapi, server
from onnxlift_runtime.describe.operations import Document
from onnxlift_runtime.describe.server import Directory, Params
from onnxlift_runtime.errors import PathNotFound
from onnxlift_runtime.http.edge import answer_event
from onnxlift_runtime.http.message import Request, Response, Route, dispatch
from onnxlift_runtime.http.routes import DOCUMENTATION, bind, is_of_jobs, named_model
from onnxlift_runtime.manifest import read_manifests
from onnxlift_runtime.names import JOIN, LAMBDA, SWEEP_EVENT
from onnxlift_runtime.settings import Settings

if TYPE_CHECKING:
    from onnxlift_runtime.jobservice.endpoints import JobsApi

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
    return (
        _sweep()
        if event == SWEEP_EVENT
        else answer_event(event, _answer, lambda: service().settings.limits)
    )


def _answer(request: Request) -> Response:
    """A model that runs on GPU workers alone is answered for here; any other has a function of its
    own.
    """
    model = named_model(request.path)
    if model in service().gpu_models:
        return dispatch(_remote_routes(), request)
    if is_of_jobs(request.path):
        return _jobs(request)
    try:
        return dispatch(_routes(), request)
    except PathNotFound:
        if model:
            service().models.versions(model)  # what comes here names a model that does not exist
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
    def document(self) -> Document:
        """The OpenAPI document, made when it is first asked for."""
        settings = self.settings
        return openapi.describe(
            self.models,
            title=settings.service,
            api_key_required=settings.api_key_required,
            jobs=bool(settings.jobs_table),
            gpu_models=self.gpu_models,
            limits=settings.limits,
        )


@functools.cache
def service() -> Service:
    """The service as its manifests describe it, read on the first call."""
    settings = Settings.from_env(os.environ)
    telemetry.configure(settings.log_level)
    return Service(settings, Catalog.of(read_manifests(settings.models_dir)))


@functools.cache
def jobs_api() -> "JobsApi":
    """What the endpoints of jobs work with; boto3 takes 200 ms to load, which only they need."""
    from onnxlift_runtime.jobservice.endpoints import JobsApi
    from onnxlift_runtime.jobservice.notifier import open_notifier
    from onnxlift_runtime.jobservice.wiring import connect

    settings = service().settings
    connected = connect(settings)
    notifier = open_notifier(settings, connected)
    return JobsApi(connected, notifier, service().models, settings, settings.limits)


@functools.cache
def _job_routes() -> tuple[Route, ...]:
    from onnxlift_runtime.jobservice.endpoints import routes

    return routes(jobs_api())


@functools.cache
def _remote_routes() -> tuple[Route, ...]:
    from onnxlift_runtime.dataplane import endpoints
    from onnxlift_runtime.dataplane.routing import Hosting
    from onnxlift_runtime.jobservice import gpu_only
    from onnxlift_runtime.jobservice.wiring import open_intake

    told = service()
    hosting = functools.partial(Hosting.of, told.settings)
    directory = Directory(told.models, limits=told.settings.limits)
    return endpoints.routes(gpu_only.plane(directory, hosting, open_intake(told.settings)))


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
    with jobs_api().service.meter.gathered("control"):
        done = sweep(jobs_api().service, jobs_api().notifier, queues)
    telemetry.log("info", "jobs swept", **done)
    return done


def _routes() -> tuple[Route, ...]:
    """The service as a whole, ready as soon as its manifests can be read: whether a model can
    answer, its own function says.
    """
    directory = Directory(service().models, limits=service().settings.limits)
    return (*server.routes(directory), *bind(DOCUMENTATION, _DOCUMENTATION, service()))


def _openapi(described: Service, _request: Request, _params: Params) -> Response:
    return Response.json(described.document)


def _docs(described: Service, _request: Request, _params: Params) -> Response:
    return Response(200, docs_page.render(described.document).encode(), _PAGE_HEADERS)


_DOCUMENTATION: Final[Mapping[str, Callable[[Service, Request, Params], Response]]] = {
    "openapi": _openapi,
    "docs": _docs,
}
