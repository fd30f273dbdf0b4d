import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handlers import control
from onnxlift_runtime.aws import clients
from onnxlift_runtime.http.message import EventFormat, Request, Response
from onnxlift_runtime.settings import Settings
from tests.support import builders
from tests.support.errors import missing

Call = Callable[..., Response]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    """Call the function with two versions of a model below its models folder."""
    for version in ("1", "2"):
        builders.write_artifact(tmp_path, builders.linear(), name="digits", version=version)
    for name, value in (
        Settings(service="demo", models_dir=tmp_path, api_key_required=True).to_env().items()
    ):
        monkeypatch.setenv(name, value)
    control.service.cache_clear()

    def answer(
        method: str, path: str, body: bytes = b"", event_format: EventFormat = EventFormat.REST
    ) -> Response:
        request = Request(method, path, body=body, event_format=event_format)
        return Response.from_event(control.handler(request.to_event(), None))

    yield answer
    for cached in (control.service, control.jobs_api, control._job_routes, clients._client):
        cached.cache_clear()


@pytest.mark.parametrize("event_format", list(EventFormat))
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models", {"models": ["digits"]}),
        ("/v1/models", {"models": ["digits"]}),
    ],
)
def test_what_there_is_comes_from_the_manifests(
    call: Call, path: str, expected: object, event_format: EventFormat
) -> None:
    response = call("GET", path, event_format=event_format)

    assert response.status == 200
    assert json.loads(response.body) == expected


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v2/jobs", "GET"),
        ("DELETE", "/v2/jobs/x", "GET"),
        ("HEAD", "/v2/jobs/x/cancel", "POST"),
        ("PUT", "/v2/uploads", "POST"),
        ("POST", "/v2/webhooks/secret", "GET"),
        ("DELETE", "/v2/health/live", "GET"),
    ],
)
def test_another_method_is_told_exactly_which_one_there_is(
    call: Call, monkeypatch: pytest.MonkeyPatch, method: str, path: str, allowed: str
) -> None:
    monkeypatch.setenv("ONNXLIFT_JOBS_TABLE", "jobs")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    control.service.cache_clear()

    response = call(method, path)

    assert (response.status, response.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_server_metadata_is_found_with_and_without_the_slash(call: Call, path: str) -> None:
    response = call("GET", path)

    assert json.loads(response.body)["name"] == "onnxlift"


@pytest.mark.parametrize("body", [b"", b" ", b"{}", b'{"ready":true}', b'{"ready":false}'])
def test_repository_index_lists_every_version(call: Call, body: bytes) -> None:
    response = call("POST", "/v2/repository/index", body)

    assert [
        (entry["name"], entry["version"], entry["state"]) for entry in json.loads(response.body)
    ] == [
        ("digits", "1", "READY"),
        ("digits", "2", "READY"),
    ]


@pytest.mark.parametrize(
    "body",
    [b"{", b"[1]", b"\xff", b"[" * 100_000, b'{"ready":1}', b'{"ready":"true"}', b'{"ready":null}'],
)
def test_repository_index_refuses_what_is_no_filter(call: Call, body: bytes) -> None:
    response = call("POST", "/v2/repository/index", body)

    assert response.status == 400
    assert list(json.loads(response.body)) == ["error"]


def test_openapi_describes_this_service_and_its_keys(call: Call) -> None:
    document = json.loads(call("GET", "/openapi.json").body)

    assert document["info"]["title"] == "demo"
    assert document["security"] == [{"api_key": []}]
    assert "/v2/models/digits/versions/2/infer" in document["paths"]


def test_docs_is_a_page_that_may_load_nothing(call: Call) -> None:
    response = call("GET", "/docs")

    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert b"/v2/models/digits/infer" in response.body


@pytest.mark.parametrize(
    "path", ["/v2/models/nope/infer", "/v1/models/nope:predict", "/v2/models/nope"]
)
def test_a_model_that_does_not_exist_is_named_in_the_answer(call: Call, path: str) -> None:
    response = call("POST", path)

    assert response.status == 404
    answer = json.loads(response.body)
    assert list(answer) == ["error"]
    assert missing(answer["error"], "'nope'", "digits") == []


@pytest.mark.parametrize("path", ["/", "/nothing/here", "/v1/models/digits:unknown"])
def test_a_path_that_does_not_exist_is_answered_in_our_form(call: Call, path: str) -> None:
    response = call("GET", path)

    assert response.status == 404
    told = json.loads(response.body)["error"]
    assert missing(told, f"GET {path}", "GET /docs", "GET /openapi.json") == []


def test_another_method_is_answered_with_the_allowed_ones(call: Call) -> None:
    response = call("DELETE", "/v2/models")

    assert (response.status, response.headers["Allow"]) == (405, "GET")


def test_an_empty_models_folder_is_a_service_without_models(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONNXLIFT_MODELS_DIR", str(tmp_path / "none"))

    response = call("GET", "/v2/models")

    assert json.loads(response.body) == {"models": []}


def test_the_function_loads_nothing_that_its_zip_lacks() -> None:
    program = (
        "import sys, handlers.control; print([name for name in sys.argv[1:] if name in "
        "sys.modules])"
    )
    heavy = ["numpy", "onnxruntime", "onnx", "orjson", "boto3", "pydantic", "aws_cdk", "onnxlift"]

    done = subprocess.run(
        [sys.executable, "-c", program, *heavy], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
