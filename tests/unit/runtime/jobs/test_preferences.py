import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.errors import MalformedRequest
from onnxlift_runtime.jobs.job import DEFAULT_TTL_MS
from onnxlift_runtime.jobs.preferences import (
    MAX_WAIT_S,
    Preference,
    Terms,
    decode_prefer,
    decode_terms,
)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", Preference()),
        ("respond-async", Preference(True)),
        ("Respond-Async, wait=10", Preference(True, 10)),
        ("wait=10, respond-async", Preference(True, 10)),
        ('respond-async; foo=bar, wait="7"; baz', Preference(True, 7)),
        ("respond-async, wait=3, wait=9", Preference(True, 3)),
        ("respond-async, wait=soon", Preference(True)),
        ("respond-async, wait=-1", Preference(True)),
        ("respond-async,wait=86400", Preference(True, MAX_WAIT_S)),
        ("wait=5", Preference(False, 5)),
        ("return=minimal", Preference()),
        ("respond-asynchronously", Preference()),
        ("respond-async \t ; a, wait = 4 ;b", Preference(True, 4)),
    ],
)
def test_prefer_is_read_as_rfc_7240_has_it(header: str, expected: Preference) -> None:
    assert decode_prefer(header) == expected


@given(st.text(max_size=60) | st.text('respond-async,;= wait019"', max_size=60))
def test_any_prefer_header_is_read(header: str) -> None:
    assert 0 <= decode_prefer(header).wait_s <= MAX_WAIT_S


def test_a_prefer_header_of_blanks_is_read_in_steps_as_many_as_its_length() -> None:
    # Where two runs may share the blanks, these take longer than all tests together.
    assert decode_prefer("respond-async" + " " * 300_000 + "!") == Preference()


def test_terms_are_read_from_their_headers() -> None:
    headers = {
        "idempotency-key": " k ",
        "x-onnxlift-ttl": "60",
        "x-onnxlift-webhook": "https://example.com/hook?a=1",
    }

    assert decode_terms(headers) == Terms("k", 60_000, "https://example.com/hook?a=1")
    assert decode_terms({}) == Terms("", DEFAULT_TTL_MS, "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("idempotency-key", "k" * 256),
        ("x-onnxlift-ttl", "²"),
        ("x-onnxlift-ttl", "9" * 99),
        ("x-onnxlift-webhook", "example.com"),
        ("x-onnxlift-webhook", "file:///etc/passwd"),
        ("x-onnxlift-webhook", "https://"),
        ("x-onnxlift-webhook", "https://user:secret@example.com"),
        ("x-onnxlift-webhook", "https://example.com:99999"),
        ("x-onnxlift-webhook", "https://example.com/a\r\nHost: other"),
        ("x-onnxlift-webhook", "https://[::1"),
        ("x-onnxlift-webhook", "https://example.com/" + "a" * 2_048),
    ],
)
def test_terms_that_make_no_sense_are_refused(name: str, value: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        decode_terms({name: value})

    assert name in str(caught.value).lower()
