import contextlib
import gzip
import json
import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.errors import (
    MalformedRequest,
    PayloadTooLarge,
    RequestError,
    UnsupportedEncoding,
)
from onnxlift_runtime.http import encoding as payload
from tests.support.errors import raises

LARGE = b'{"outputs":[' + b"1.0," * 500 + b"1.0]}"


@given(st.binary(max_size=2_000), st.sampled_from(["gzip", "x-gzip", "deflate", "identity", ""]))
def test_what_was_compressed_comes_back(body: bytes, encoding: str) -> None:
    packed = {
        "gzip": gzip.compress(body),
        "x-gzip": gzip.compress(body),
        "deflate": zlib.compress(body),
    }

    assert payload.decompress(packed.get(encoding, body), encoding, len(body)) == body


@given(st.integers(0, 5_000), st.integers(0, 5_000), st.sampled_from(["gzip", "deflate"]))
def test_a_body_inflates_up_to_the_limit_and_no_further(
    size: int, limit: int, encoding: str
) -> None:
    packed = (gzip.compress if encoding == "gzip" else zlib.compress)(b"a" * size)

    if size <= limit:
        assert len(payload.decompress(packed, encoding, limit)) == size
    else:
        with raises(PayloadTooLarge, limit):
            payload.decompress(packed, encoding, limit)


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "br", "identity"]))
def test_any_bytes_are_read_or_refused_with_a_4xx(body: bytes, encoding: str) -> None:
    with contextlib.suppress(RequestError):
        assert len(payload.decompress(body, encoding, 1_000)) <= 1_000


def test_members_of_a_gzip_stream_are_joined() -> None:
    packed = gzip.compress(b"one ") + gzip.compress(b"two")

    assert payload.decompress(packed, "gzip", 7) == b"one two"


def test_members_share_one_limit() -> None:
    packed = gzip.compress(b"a" * 600) * 2

    with raises(PayloadTooLarge, 1000):
        payload.decompress(packed, "gzip", 1_000)


def test_a_stream_of_very_many_members_is_refused() -> None:
    packed = gzip.compress(b"") * 100_000

    with raises(MalformedRequest, "parts"):
        payload.decompress(packed, "gzip", 1_000)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(b"text")[:-1], "gzip"),
        (zlib.compress(b"text") + b"more", "deflate"),
        (zlib.compress(b"text"), "gzip"),
        (gzip.compress(b"text"), "deflate"),
        (b"", "gzip"),
    ],
    ids=["truncated", "trailing", "zlib as gzip", "gzip as deflate", "empty"],
)
def test_a_body_that_is_not_what_its_encoding_says_is_refused(body: bytes, encoding: str) -> None:
    with pytest.raises(MalformedRequest):
        payload.decompress(body, encoding, 1_000)


def test_an_unknown_encoding_tells_the_known_ones() -> None:
    with raises(UnsupportedEncoding, "'br'") as caught:
        payload.decompress(b"", "br", 1)

    assert caught.value.headers == {"Accept-Encoding": "gzip, deflate"}


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("", ""),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br", "gzip"),
        ("deflate, gzip", "gzip"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip; q=0, deflate", "deflate"),
        ("gzip;q=0.000", ""),
        ("*", "gzip"),
        ("*;q=0", ""),
        ("gzip;q=0, *", "deflate"),
        ("identity", ""),
        ("identity, gzip;q=0.5", ""),
        ("identity;q=0.5, gzip", "gzip"),
        ("br", ""),
        ("gzip;q=many", ""),
        ("gzip;level=1;q=0", ""),
        (",;,", ""),
    ],
)
def test_accept_encoding_is_followed(header: str, encoding: str) -> None:
    body, used = payload.compress(LARGE, header)

    assert used == encoding
    assert payload.decompress(body, used, len(LARGE)) == LARGE


def test_small_answers_are_left_alone() -> None:
    assert payload.compress(b"{}", "gzip") == (b"{}", "")


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", "[1e999]", '"\\ud800"', "'a'", "[1,]", "\xff", "{}{}"]
)
def test_strict_json_refuses_everything_else(text: str) -> None:
    with raises(MalformedRequest, "JSON"):
        payload.decode_json(text.encode("latin-1"))


def test_bare_nan_and_infinity_are_read_where_allowed() -> None:
    values = payload.decode_json(memoryview(b"[NaN, Infinity, -Infinity]"), allow_nan=True)

    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf]


@pytest.mark.parametrize(
    "text",
    [
        '["\\ud800", NaN]',
        '{"\\uDBFF": NaN}',
        "[" * 100_000,
        "[" + "9" * 5_000 + "]",
        "[1e999]",
        "[NaN, -1e999]",
    ],
)
def test_the_tolerant_reader_refuses_what_breaks_later(text: str) -> None:
    with raises(MalformedRequest, "JSON"):
        payload.decode_json(text.encode(), allow_nan=True)


def test_the_tolerant_reader_keeps_whole_characters_that_were_escaped_in_halves() -> None:
    assert payload.decode_json(b'["\\ud83d\\ude00", NaN]', allow_nan=True)[0] == "😀"


def test_arrays_are_written_as_lists_with_null_for_nan() -> None:
    document = {"data": np.array([[1, np.nan], [np.inf, 0.1]], dtype=np.float32)}

    assert payload.encode_json(document) == b'{"data":[[1.0,null],[null,0.1]]}'


def test_bare_nan_and_infinity_are_written_where_wanted() -> None:
    document = {"data": np.array([1, np.nan, np.inf, -np.inf])}

    written = payload.encode_json_with_nan(document)

    assert written == b'{"data":[1.0,NaN,Infinity,-Infinity]}'
    assert json.loads(written)["data"][2] == math.inf


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        (b"[NaN]", False),
        (b"[1e999]", False),
        (b"[1,]", True),
        (b"[" * 5_000, True),
        (b"\xff", True),
    ],
)
def test_json_without_the_fast_parser_refuses_the_same(
    monkeypatch: pytest.MonkeyPatch, text: bytes, allowed: bool
) -> None:
    monkeypatch.setattr("onnxlift_runtime.http.encoding.orjson", None)

    assert payload.decode_json(b'{"a":[1.5]}') == {"a": [1.5]}
    with raises(MalformedRequest, "JSON"):
        payload.decode_json(text, allow_nan=bool(allowed))
