import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.errors import (
    MAX_MESSAGE_CHARACTERS,
    MalformedRequest,
    MethodNotAllowed,
    ModelNotFound,
    PathNotFound,
    PayloadTooLarge,
)
from onnxlift_runtime.http.message import JSON, EventFormat, Request, Response, Route, dispatch
from onnxlift_runtime.settings import Limits
from tests.support.errors import raises
from tests.support.runtime import events

TOKENS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
HEADERS = st.dictionaries(TOKENS.map(str.lower), TEXTS, max_size=3)
REQUESTS = st.builds(
    Request,
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    path=TEXTS.map(lambda text: "/" + text),
    headers=HEADERS,
    query=st.dictionaries(TOKENS, TEXTS, max_size=2),
    body=st.binary(max_size=50),
    request_id=TEXTS,
    event_format=st.sampled_from(EventFormat),
)
JSON_BODIES = st.dictionaries(TEXTS, TEXTS | st.floats(allow_nan=False), max_size=3).map(
    lambda document: json.dumps(document, ensure_ascii=False).encode()
)
RESPONSES = st.one_of(
    st.builds(Response, st.integers(200, 599), JSON_BODIES, st.just({"Content-Type": JSON})),
    st.builds(Response, st.integers(200, 599), st.binary(max_size=50), HEADERS),
)


@given(REQUESTS)
def test_a_request_survives_its_event(request: Request) -> None:
    event = json.loads(json.dumps(request.to_event()))

    assert Request.from_event(event) == request


@given(RESPONSES)
def test_an_answer_survives_its_event(response: Response) -> None:
    event = json.loads(json.dumps(response.to_event()))

    assert Response.from_event(event) == response


def test_a_rest_event_is_read() -> None:
    request = Request.from_event(events.rest("POST", "/v2/models/m/infer", b'{"inputs":[]}'))

    assert (request.method, request.path, request.body) == (
        "POST",
        "/v2/models/m/infer",
        b'{"inputs":[]}',
    )
    assert request.headers["accept"] == "text/html,application/json"
    assert (request.query, request.event_format) == ({"timing": "on"}, EventFormat.REST)
    assert request.request_id == "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"


def test_an_http_api_event_is_read_without_its_stage() -> None:
    request = Request.from_event(
        events.http_api("POST", "/prod/v2/models/m/infer", b"\x00\xff", stage="prod")
    )

    assert (request.method, request.path, request.body) == (
        "POST",
        "/v2/models/m/infer",
        b"\x00\xff",
    )
    assert (request.headers["x-two"], request.event_format) == ("a,b", EventFormat.HTTP)


def test_a_function_url_event_is_read() -> None:
    request = Request.from_event(events.function_url("GET", "/v2/models/a%20b"))

    assert (request.method, request.path, request.body) == ("GET", "/v2/models/a b", b"")


@pytest.mark.parametrize(
    ("raw", "stage", "path"),
    [
        ("/prod/v2", "prod", "/v2"),
        ("/prod", "prod", "/"),
        ("/prod/", "prod", "/"),
        ("/production/v2", "prod", "/production/v2"),
        ("/v2/v2/models", "v2", "/v2/models"),
        ("/v2", "$default", "/v2"),
        ("", "prod", "/"),
    ],
)
def test_only_a_whole_first_segment_is_the_stage(raw: str, stage: str, path: str) -> None:
    assert Request.from_event(events.http_api("GET", raw, stage=stage)).path == path


@pytest.mark.parametrize("headers", [None, {}, {"Accept": None}, []])
def test_an_event_may_lack_headers_query_and_body(headers: Any) -> None:
    event = {
        **events.rest("GET", "/v2"),
        "headers": headers,
        "queryStringParameters": None,
        "body": None,
    }

    request = Request.from_event({**event, "multiValueHeaders": None})

    assert (request.headers, request.query, request.body) == ({}, {}, b"")


def test_header_names_are_lower_case_and_repeated_values_are_joined() -> None:
    event = events.rest("GET", "/v2")
    event["headers"] = {"X-ONE": "1"}
    event["multiValueHeaders"] = {"x-One": ["0", "1"], "X-Two": ["a", "b"]}

    assert Request.from_event(event).headers == {"x-one": "0,1", "x-two": "a,b"}


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        "text",
        7,
        {},
        {"Records": []},
        {"httpMethod": None},
        {"httpMethod": ["GET"]},
        {"requestContext": "http"},
        {"requestContext": {"http": {}}},
        {"requestContext": {"http": {"path": "/"}}},
        {"httpMethod": "POST", "body": {"inputs": []}},
        {"httpMethod": "POST", "body": "%", "isBase64Encoded": True},
        {"httpMethod": "POST", "body": "é", "isBase64Encoded": True},
    ],
)
def test_any_other_event_is_a_malformed_request(event: Any) -> None:
    with pytest.raises(MalformedRequest):
        Request.from_event(event)


@pytest.mark.parametrize("encoded", [True, False])
def test_a_body_is_taken_up_to_the_limit(encoded: bool) -> None:
    limits = Limits(max_body_bytes=300)
    fits, exceeds = (
        {
            "httpMethod": "POST",
            "body": base64.b64encode(b"a" * size).decode() if encoded else "a" * size,
            "isBase64Encoded": encoded,
        }
        for size in (300, 303)
    )

    assert len(Request.from_event(fits, limits).body) == 300
    with raises(PayloadTooLarge, 300):
        Request.from_event(exceeds, limits)


def test_half_a_character_in_an_event_reaches_the_reader_that_refuses_it() -> None:
    assert Request.from_event({"httpMethod": "POST", "body": "\ud800"}).body == b"\xed\xa0\x80"


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.booleans())
def test_an_answer_is_never_larger_than_it_was_taken_for(text: str, escaped: bool) -> None:
    response = Response.json({"text": text})
    written = len(json.dumps(response.to_event(), ensure_ascii=escaped).encode())

    with pytest.raises(PayloadTooLarge):
        response.to_event(Limits(max_answer_bytes=written - 1))


def test_an_answer_at_the_limit_goes_out_and_one_byte_more_does_not() -> None:
    response = Response.json(["a" * 100])
    written = len(json.dumps(response.to_event()))

    assert response.to_event(Limits(max_answer_bytes=written))["statusCode"] == 200
    with raises(PayloadTooLarge, written, written - 1):
        response.to_event(Limits(max_answer_bytes=written - 1))


def test_a_binary_answer_counts_as_base64() -> None:
    response = Response(200, bytes(300))

    with pytest.raises(PayloadTooLarge):
        response.to_event(Limits(max_answer_bytes=400))


def test_an_error_is_told_in_the_one_form() -> None:
    response = Response.error(ModelNotFound("model 'x' does not exist"))

    assert (response.status, response.body) == (404, b'{"error":"model \'x\' does not exist"}')


def test_a_very_long_error_is_cut() -> None:
    told = json.loads(Response.error(ModelNotFound('"' * 10**7)).body)["error"]

    assert told == '"' * MAX_MESSAGE_CHARACTERS + "…"


def test_half_a_character_in_an_error_is_escaped() -> None:
    response = Response.error(ModelNotFound("\ud800"))

    assert json.loads(response.to_event()["body"]) == {"error": "\ud800"}


def test_the_route_that_fits_answers() -> None:
    table = [Route("GET", re.compile("/a/(?P<name>.+)"), lambda _, found: Response.json(found))]

    assert dispatch(table, Request("GET", "/a/b")).body == b'{"name":"b"}'


def test_another_method_is_told_which_are_allowed() -> None:
    table = [
        Route(method, re.compile("/a"), lambda _, __: Response(200))
        for method in ("GET", "POST", "GET")
    ]

    with pytest.raises(MethodNotAllowed) as caught:
        dispatch(table, Request("PUT", "/a"))
    assert caught.value.headers == {"Allow": "GET, POST"}


def test_a_path_without_a_route_is_told() -> None:
    with raises(PathNotFound, "GET /b"):
        dispatch([], Request("GET", "/b"))
