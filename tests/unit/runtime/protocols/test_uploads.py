import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.errors import MalformedRequest
from onnxlift_runtime.protocols.oip import HEADER_LENGTH
from onnxlift_runtime.protocols.uploads import fill_in, names_uploads
from onnxlift_runtime.settings import Limits
from tests.support.errors import raises

LENGTH = HEADER_LENGTH.lower()
LIMITS = Limits()
PIECES = st.lists(
    st.tuples(st.sampled_from(["upload", "binary", "json"]), st.binary(max_size=9)), max_size=6
)


def entry(index: int, kind: str, content: bytes) -> dict[str, Any]:
    plain: dict[str, Any] = {"name": str(index)}
    if kind == "json":
        return plain | {"data": list(content)}
    parameters = {"upload": str(index)} if kind == "upload" else {"binary_data_size": len(content)}
    return plain | {"parameters": parameters}


def request(pieces: list[tuple[str, bytes]]) -> tuple[dict[str, str], bytes]:
    entries = [entry(index, kind, content) for index, (kind, content) in enumerate(pieces)]
    head = json.dumps({"inputs": entries}).encode()
    return {LENGTH: str(len(head))}, head + b"".join(
        content for kind, content in pieces if kind == "binary"
    )


@given(PIECES)
def test_uploads_take_their_place_between_what_came_along(pieces: list[tuple[str, bytes]]) -> None:
    headers, body = request(pieces)

    filled, content = fill_in(headers, body, lambda name, _room: pieces[int(name)][1], LIMITS)

    head, rest = content[: int(filled[LENGTH])], content[int(filled[LENGTH]) :]
    assert rest == b"".join(part for kind, part in pieces if kind != "json")
    for (kind, part), told in zip(pieces, json.loads(head)["inputs"], strict=True):
        assert "upload" not in told.get("parameters", {})
        assert kind == "json" or told["parameters"]["binary_data_size"] == len(part)


def test_a_compressed_request_is_filled_in_uncompressed() -> None:
    headers, body = request([("upload", b"abc")])
    packed = {**headers, "content-encoding": "gzip"}

    filled, content = fill_in(packed, gzip.compress(body), lambda _name, _room: b"abc", LIMITS)

    assert "content-encoding" not in filled
    assert content.endswith(b"abc")


@given(
    st.binary(max_size=60) | st.text('{"inputs":[]upload,}', max_size=60).map(str.encode),
    st.text(max_size=5),
)
def test_what_cannot_be_read_comes_back_as_it_is(body: bytes, length: str) -> None:
    headers = {LENGTH: length}

    assert not names_uploads(headers, body, LIMITS)
    assert fill_in(headers, body, lambda _name, _room: b"", LIMITS) == (headers, body)


@pytest.mark.parametrize(
    "more", [{"data": [1]}, {"parameters": {"upload": "u", "binary_data_size": 1}}]
)
def test_an_input_with_an_upload_and_data_is_refused(more: dict[str, Any]) -> None:
    body = json.dumps({"inputs": [{"name": "x", "parameters": {"upload": "u"}, **more}]}).encode()

    with raises(MalformedRequest, "'x'", "'upload'"):
        fill_in({}, body, lambda _name, _room: b"", LIMITS)


def test_all_uploads_together_stay_within_the_limit() -> None:
    rooms: list[int] = []

    def fetch(_name: str, room: int) -> bytes:
        rooms.append(room)
        return bytes(10)

    fill_in(*request([("upload", b""), ("upload", b"")]), fetch, LIMITS)

    assert rooms == [LIMITS.max_tensor_bytes, LIMITS.max_tensor_bytes - 10]
