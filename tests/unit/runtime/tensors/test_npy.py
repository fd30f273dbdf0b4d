"""numpy's files from callers who may mean harm: every array comes back, nothing else gets in."""

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxlift_runtime.errors import (
    DatatypeMismatch,
    InputMismatch,
    MalformedRequest,
    OnnxliftError,
    PayloadTooLarge,
)
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors.arrays import float32_to_bfloat16
from onnxlift_runtime.tensors.datatypes import DATATYPES
from onnxlift_runtime.tensors.npy import decode_npy, decode_npz, encode_npz
from tests.support.builders import manifest, spec
from tests.support.errors import raises

LIMITS = Limits(max_tensor_bytes=100_000)
NUMBERS = [found for found in DATATYPES if found.name not in {"BF16", "BYTES"}]


def model(datatype: str = "FP32", shape: tuple[int, ...] = (-1, -1)) -> Manifest:
    return manifest((spec("x", datatype, shape),), (spec("y", datatype, shape),), max_batch_size=0)


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(text: str, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text.encode() + data


@given(st.data(), st.sampled_from(NUMBERS), st.sampled_from("<>"), st.booleans())
def test_every_array_comes_back_as_it_was_saved(
    data: Any, found: Any, order: str, column_major: bool
) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    array = data.draw(hnp.arrays(np.dtype(found.numpy).newbyteorder(order), shape))
    stored = np.array(array, order="F" if column_major else "C")

    decoded = decode_npy(npy(stored), model(found.name, (-1,) * len(shape)), LIMITS)["x"]

    assert decoded.shape == shape
    assert decoded.dtype == np.dtype(found.numpy)
    assert decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, array)


@pytest.mark.parametrize("array", [np.array([["Grüße", ""]]), np.array([[b"a", b"bc"]])])
def test_text_of_fixed_width_becomes_bytes(array: Any) -> None:
    decoded = decode_npy(npy(array), model("BYTES"), LIMITS)["x"]

    assert decoded.tolist() == [
        [item.encode() if isinstance(item, str) else item for item in array[0].tolist()]
    ]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code", [0xD800, 0xDFFF, 0x110000, 0xFFFFFFFF])
def test_text_of_codes_that_are_no_characters_is_refused(order: str, code: int) -> None:
    body = header(
        f"{{'descr': '{order}U1', 'fortran_order': False, 'shape': (1, 1)}}",
        struct.pack(f"{order}I", code),
    )

    with raises(MalformedRequest, "'x'", "text"):
        decode_npy(body, model("BYTES"), LIMITS)


def test_float32_is_rounded_where_the_model_takes_bfloat16() -> None:
    array = np.array([[1.5, 3.14159]], dtype=np.float32)

    decoded = decode_npy(npy(array), model("BF16"), LIMITS)["x"]

    assert decoded.tolist() == float32_to_bfloat16(array).tolist()


@given(st.binary(max_size=300))
def test_any_other_bytes_are_refused_in_our_words(junk: bytes) -> None:
    for read in (decode_npy, decode_npz):
        with pytest.raises(OnnxliftError):
            read(junk, model(), LIMITS)


@given(st.integers(0, 500), st.binary(min_size=1, max_size=4))
def test_damaged_files_are_refused_or_read_and_never_crash(place: int, damage: bytes) -> None:
    for good, read in (
        (npy(np.ones((2, 2), np.float32)), decode_npy),
        (_npz(x=np.ones((2, 2), np.float32)), decode_npz),
    ):
        at = place % len(good)
        broken = good[:at] + damage + good[at + len(damage) :]
        try:
            arrays = read(broken, model(), LIMITS)
        except OnnxliftError:
            continue
        assert arrays["x"].dtype == np.float32


HOSTILE: dict[str, tuple[bytes, type[OnnxliftError]]] = {
    "object array": (
        header("{'descr': '|O', 'fortran_order': False, 'shape': (1, 1)}\n", b"x" * 8),
        MalformedRequest,
    ),
    "nested object": (
        header("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1, 1)}\n", b"x" * 8),
        MalformedRequest,
    ),
    "huge shape": (
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000)}\n"),
        PayloadTooLarge,
    ),
    "negative shape": (
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -4)}\n", b"x" * 16),
        MalformedRequest,
    ),
    "empty text": (
        header("{'descr': '<U0', 'fortran_order': False, 'shape': (9, 9)}\n"),
        DatatypeMismatch,
    ),
    "time": (
        header("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1, 1)}\n", b"x" * 8),
        MalformedRequest,
    ),
    "complex": (npy(np.ones((1, 1), np.complex64)), DatatypeMismatch),
    "no such type": (
        header("{'descr': '<f3', 'fortran_order': False, 'shape': (1, 1)}\n", b"abc"),
        MalformedRequest,
    ),
    "code": (
        header("{'descr': __import__('os'), 'fortran_order': False, 'shape': (1, 1)}\n"),
        MalformedRequest,
    ),
    "long header": (header("{'descr': '<f4'," + " " * 20_000 + "}\n"), MalformedRequest),
    "version 9": (header("{}\n", version=b"\x09\0"), MalformedRequest),
    "trailing bytes": (npy(np.ones((1, 1), np.float32)) + b"x", MalformedRequest),
    "other type": (npy(np.ones((1, 1))), DatatypeMismatch),
    "a bool that is none": (
        header("{'descr': '|b1', 'fortran_order': False, 'shape': (1, 1)}\n", b"\2"),
        DatatypeMismatch,
    ),
    "twice the same": (
        header("{'descr': '<f4', 'descr': '<f4', 'shape': (1, 1)}\n", b"abcd"),
        MalformedRequest,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_array_is_refused_before_it_is_allocated(name: str) -> None:
    body, expected = HOSTILE[name]

    with pytest.raises(expected):
        decode_npy(body, model(), LIMITS)


def _npz(method: int = zipfile.ZIP_DEFLATED, **members: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name + ".npy", content if isinstance(content, bytes) else npy(content))
    return buffer.getvalue()


def _lying_about_its_size() -> bytes:
    body = bytearray(_npz(x=b"\0" * 10_000_000))
    at = body.index(b"PK\1\2")
    body[at + 24 : at + 28] = struct.pack("<I", 100)
    return bytes(body)


def _with_a_huge_directory() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(2_000):
            archive.writestr(f"{number}.npy", b"")
    return buffer.getvalue()


def _with_a_second_directory() -> bytes:
    body = _npz(x=b"")
    at = body.rindex(b"PK\5\6")
    return body[:at] + b"PK\6\7" + b"\0" * 16 + body[at:]


ARCHIVES: dict[str, tuple[Callable[[], bytes], type[OnnxliftError]]] = {
    "bomb": (lambda: _npz(x=b"\0" * 50_000_000), PayloadTooLarge),
    "liar": (_lying_about_its_size, MalformedRequest),
    "directory": (_with_a_huge_directory, PayloadTooLarge),
    "second directory": (_with_a_second_directory, PayloadTooLarge),
    "bzip2": (lambda: _npz(zipfile.ZIP_BZIP2, x=b"\0" * 50_000_000), MalformedRequest),
    "stranger": (lambda: _npz(z=np.ones(1)), InputMismatch),
    "nothing": (_npz, InputMismatch),
    "cut": (lambda: _npz(x=np.ones((9, 9), np.float32))[:-30], MalformedRequest),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_hostile_archive_is_refused_within_bounded_memory(name: str) -> None:
    make, expected = ARCHIVES[name]
    body = make()

    tracemalloc.start()
    with pytest.raises(expected):
        decode_npz(body, model(), LIMITS)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 3_000_000


def test_an_archive_of_outputs_is_read_back_by_numpy() -> None:
    outputs = (spec("n", "FP16", (-1,)), spec("t", "BYTES", (-1,)), spec("b", "BF16", (-1,)))
    arrays = {
        "n": np.array([1, 2], np.float16),
        "t": np.array([b"a", b"bcd"], dtype=object),
        "b": float32_to_bfloat16(np.array([1.5], np.float32)),
    }

    read = np.load(io.BytesIO(encode_npz(arrays, manifest(outputs=outputs))), allow_pickle=False)

    assert {name: read[name].tolist() for name in read} == {
        "n": [1, 2],
        "t": [b"a", b"bcd"],
        "b": [1.5],
    }


def test_text_that_an_archive_cannot_hold_is_told() -> None:
    outputs = (spec("t", "BYTES", (-1,)),)

    with raises(DatatypeMismatch, "'t'", "zero byte"):
        encode_npz({"t": np.array([b"a\0"], dtype=object)}, manifest(outputs=outputs))


def test_a_single_array_needs_a_model_of_one_input() -> None:
    pair = manifest((spec("a", "FP32", (-1,)), spec("b", "FP32", (-1,))))

    with raises(MalformedRequest, "'a', 'b'", ".npz"):
        decode_npy(npy(np.ones(1)), pair, LIMITS)
