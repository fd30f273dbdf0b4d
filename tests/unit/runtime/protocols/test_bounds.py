"""Memory is taken for bytes that a request brings, never for bytes that it announces."""

import contextlib
import gzip
import json
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from onnxlift_runtime.errors import RequestError
from onnxlift_runtime.http.encoding import decompress
from onnxlift_runtime.protocols import oip, tfs
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors import arrays
from tests.support import builders
from tests.support.runtime.serving import announced, tensor

MIB = 2**20
LIMITS = Limits(max_decompressed_bytes=MIB)
FREE = builders.manifest((builders.spec("x", "FP32", (-1, -1)),), max_batch_size=0)
SHAPES = ([2**31, 2**31], [10**18, 10**18], [2**62, 0], [1] * 100_000, [2**40] * 5_000)
TEXT = builders.manifest((builders.spec("x", "BYTES", (-1,)),), max_batch_size=0)


def refusal_peak(read: Callable[[], Any]) -> int:
    """Bytes at the highest point while ``read`` is refused, the traceback let go."""
    tracemalloc.start()
    try:
        refused = True
        with contextlib.suppress(RequestError):
            read()
            refused = False
        assert refused
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}^{len(shape)}")
@pytest.mark.parametrize("binary", [True, False])
def test_a_huge_shape_takes_no_memory(shape: list[int], binary: bool) -> None:
    entry = announced("x", "FP32", shape, 4) if binary else tensor("x", "FP32", shape, [1])
    header = json.dumps({"inputs": [entry]}).encode()
    body, header_length = (header + b"data", str(len(header))) if binary else (header, None)

    peak = refusal_peak(
        lambda: arrays.decode(oip.decode_infer(body, header_length, FREE, LIMITS).inputs[0])
    )

    assert peak < 64 * 1024 + 30 * len(body)


def test_a_huge_element_takes_no_memory() -> None:
    header = json.dumps({"inputs": [announced("x", "BYTES", [2], 8)]}).encode()
    body = header + b"\xff\xff\xff\xff" + b"\x00\x00\x00\x00"

    peak = refusal_peak(
        lambda: arrays.decode(oip.decode_infer(body, str(len(header)), TEXT, LIMITS).inputs[0])
    )

    assert peak < 64 * 1024


def test_a_huge_count_of_elements_takes_no_memory() -> None:
    header = json.dumps({"inputs": [announced("x", "BYTES", [2**23], 4)]}).encode()

    peak = refusal_peak(
        lambda: arrays.decode(
            oip.decode_infer(header + bytes(4), str(len(header)), TEXT, LIMITS).inputs[0]
        )
    )

    assert peak < 64 * 1024


@pytest.mark.parametrize("manifest", [FREE, TEXT], ids=["numbers", "text"])
@pytest.mark.parametrize("depth", [900, 1_023, 100_000])
def test_deep_nesting_takes_little_more_than_its_text(manifest: Any, depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    infer = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":' + nested + b"}]}"

    def predict() -> None:
        for found in tfs.decode_predict(b'{"inputs":' + nested + b"}", manifest, LIMITS).inputs:
            arrays.decode(found)

    assert refusal_peak(lambda: oip.decode_infer(infer, None, manifest, LIMITS)) < MIB + 40 * depth
    assert refusal_peak(predict) < MIB + 40 * depth


@pytest.mark.parametrize(
    "pack", [lambda size: gzip.compress(bytes(size), 9), lambda size: gzip.compress(b"") * 50_000]
)
def test_a_compression_bomb_takes_no_more_than_the_limit(pack: Callable[[int], bytes]) -> None:
    body = pack(256 * MIB)

    peak = refusal_peak(lambda: decompress(body, "gzip", LIMITS.max_decompressed_bytes))

    assert peak < 3 * MIB + 2 * len(body)


def test_members_of_a_bomb_share_the_limit() -> None:
    body = gzip.compress(bytes(MIB // 2), 9) * 60

    peak = refusal_peak(lambda: decompress(body, "gzip", LIMITS.max_decompressed_bytes))

    assert peak < 4 * MIB


@pytest.mark.parametrize("piece", [b"[],", b"{},", b'"a",', b"1.5,"])
def test_json_that_grows_when_it_is_parsed_is_bounded_by_its_own_limit(piece: bytes) -> None:
    limits = Limits(max_json_bytes=MIB)
    allowed = b'{"inputs":[' + piece * ((MIB - 20) // len(piece)) + b"0]}"

    def infer(body: bytes) -> None:
        oip.decode_infer(body, None, FREE, limits)

    def predict(body: bytes) -> None:
        arrays.decode(tfs.decode_predict(body, FREE, limits).inputs[0])

    for read in (infer, predict):
        assert refusal_peak(partial(read, allowed)) < 64 * MIB
        assert refusal_peak(partial(read, allowed + b" " * 20)) < MIB
