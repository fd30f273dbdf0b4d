import json

import pytest

from onnxlift_runtime.errors import ConfigInvalid, ModelUnavailable
from onnxlift_runtime.http.edge import answer_event
from onnxlift_runtime.http.message import Request, Response
from onnxlift_runtime.settings import Limits

EVENT = Request("GET", "/v2", request_id="r-1").to_event()


def unavailable(_request: Request) -> Response:
    raise ModelUnavailable("model 'm' is loading", retry_after_s=7)


def broken(_request: Request) -> Response:
    raise KeyError("secret")


def too_large(_request: Request) -> Response:
    return Response(200, b"x" * 7_000_000)


def test_an_answer_goes_out_as_it_is() -> None:
    answer = answer_event(EVENT, lambda request: Response.json({"path": request.path}))

    assert answer["statusCode"] == 200
    assert json.loads(answer["body"]) == {"path": "/v2"}


def test_an_error_of_ours_keeps_its_status_message_and_headers() -> None:
    answer = answer_event(EVENT, unavailable)

    assert (answer["statusCode"], answer["headers"]["Retry-After"]) == (503, "7")
    assert json.loads(answer["body"]) == {"error": "model 'm' is loading"}


def test_any_other_exception_is_told_in_the_log_alone(capsys: pytest.CaptureFixture[str]) -> None:
    answer = answer_event(EVENT, broken)

    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert answer["statusCode"] == 500
    assert "secret" not in answer["body"]
    assert "KeyError: 'secret'" in logged[0]["trace"]
    assert {line["request_id"] for line in logged} == {"r-1"}


def test_an_answer_that_lambda_would_drop_becomes_413() -> None:
    answer = answer_event(EVENT, too_large)

    assert answer["statusCode"] == 413


@pytest.mark.parametrize(
    "event", [{}, {"Records": []}, {"httpMethod": "GET", "body": "%", "isBase64Encoded": True}]
)
def test_an_event_that_cannot_be_read_is_answered_with_400(event: dict[str, object]) -> None:
    answer = answer_event(event, lambda _: Response(200))

    assert answer["statusCode"] == 400


def test_bodies_are_held_to_the_limits_of_the_function() -> None:
    limits = Limits(max_body_bytes=4, max_answer_bytes=500)
    large = Request("POST", "/v2", body=b"1234567890").to_event()

    taken = answer_event(large, lambda _: Response(200), lambda: limits)
    given = answer_event(EVENT, lambda _: Response(200, b"x" * 500), lambda: limits)

    assert (taken["statusCode"], given["statusCode"]) == (413, 413)


def test_limits_that_cannot_be_read_are_an_answer() -> None:
    def unreadable() -> Limits:
        raise ConfigInvalid("environment variable ONNXLIFT_MAX_BODY_BYTES is 'x'")

    answer = answer_event(EVENT, lambda _: Response(200), unreadable)

    assert answer["statusCode"] == 500
