import re

import pytest
from openapi_spec_validator import validate

from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.describe import docs_page
from onnxlift_runtime.describe.openapi import describe
from onnxlift_runtime.describe.operations import Document
from onnxlift_runtime.http.message import Request, dispatch
from tests.support import builders


@pytest.fixture
def document() -> Document:
    models = Catalog.of([builders.manifest(name="tiny")])
    return describe(models, title="demo", api_key_required=True, jobs=True)


def test_the_document_with_jobs_is_valid_and_makes_a_page(document: Document) -> None:
    validate(document)

    assert "/v2/jobs/{job}/result" in docs_page.render(document)


def test_an_inference_may_answer_with_a_job(document: Document) -> None:
    responses = document["paths"]["/v2/models/tiny/infer"]["post"]["responses"]

    assert responses["202"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Job"
    }
    assert "409" in responses


def test_a_document_without_jobs_has_none_of_it() -> None:
    models = Catalog.of([builders.manifest(name="tiny")])

    assert "jobs" not in str(describe(models, title="demo", api_key_required=False))


def test_every_documented_path_of_jobs_has_its_endpoint(document: Document) -> None:
    from onnxlift_runtime.jobservice.endpoints import JobsApi, routes

    table = routes(JobsApi(None, None, None, None, None))  # type: ignore[arg-type]
    paths = [path for path in document["paths"] if re.match(r"/v2/(jobs|uploads|webhooks)", path)]

    assert len(paths) == len(table)
    for path in paths:
        for method in document["paths"][path]:
            with pytest.raises(AttributeError):  # an endpoint was found, and misses its table
                dispatch(table, Request(method.upper(), path.replace("{job}", "id")))
