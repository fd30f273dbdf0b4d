"""The table of endpoints, and that every row has what it needs."""

import pytest

from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.dataplane.endpoints import Plane
from onnxlift_runtime.dataplane.endpoints import routes as model_routes
from onnxlift_runtime.describe import server
from onnxlift_runtime.describe.openapi import describe
from onnxlift_runtime.describe.server import Directory
from onnxlift_runtime.http.routes import (
    DOCUMENTATION,
    JOBS,
    MODEL,
    PREDICT,
    SERVER,
    SERVING,
    Endpoint,
    is_below_version,
    is_of_jobs,
    named_model,
    pattern,
)
from onnxlift_runtime.jobservice import endpoints as job_endpoints
from tests.support import builders

ENDPOINTS = (*SERVER, *DOCUMENTATION, *MODEL, *SERVING, *JOBS)
DIRECTORY = Directory(Catalog.of([]))


def test_every_row_has_its_operation_in_the_document() -> None:
    models = Catalog.of([builders.manifest(name="tiny")])
    document = describe(models, title="demo", api_key_required=False, jobs=True)

    found = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if not is_below_version(path)
    }

    assert found == {(row.method, row.path.replace("{model}", "tiny")) for row in ENDPOINTS}


def test_every_row_has_its_handler() -> None:
    plane = Plane(DIRECTORY, None, None, None, None)  # type: ignore[arg-type]

    assert len(server.routes(DIRECTORY)) == len(SERVER)
    assert len(model_routes(plane)) == len((*MODEL, *SERVING))
    assert len(job_endpoints.routes(None)) == len(JOBS)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: f"{row.method} {row.path}")
def test_a_path_is_answered_by_the_function_of_its_row(row: Endpoint) -> None:
    path = row.path.format(model="tiny", job="id")

    assert pattern(row).fullmatch(path)
    assert bool(named_model(path)) == (row.function == PREDICT)
    assert is_of_jobs(path) == (row in JOBS)


@pytest.mark.parametrize("row", SERVER, ids=lambda row: row.path)
def test_a_slash_at_the_end_counts_only_where_the_row_says_so(row: Endpoint) -> None:
    assert bool(pattern(row).fullmatch(row.path + "/")) == row.slash


def test_a_dot_in_a_template_is_a_dot() -> None:
    assert not pattern(DOCUMENTATION[0]).fullmatch("/openapixjson")


def test_a_version_is_a_parameter_of_every_path_of_the_open_inference_protocol() -> None:
    for row in MODEL:
        path = row.path.replace("{model}", "tiny/versions/3")

        found = pattern(row).fullmatch(path)

        assert found
        assert found.groupdict() == {"model": "tiny", "version": "3"}
        assert (named_model(path), is_below_version(path)) == ("tiny", True)
