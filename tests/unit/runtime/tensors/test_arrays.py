import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxlift_runtime.errors import (
    DatatypeMismatch,
    MalformedRequest,
    ShapeMismatch,
    ValueOutOfRange,
)
from onnxlift_runtime.http import encoding
from onnxlift_runtime.tensors import arrays as tensors
from onnxlift_runtime.tensors.datatypes import DATATYPES, Datatype, datatype
from onnxlift_runtime.tensors.wire import WireTensor
from tests.support.errors import raises
from tests.support.runtime import strategies

INTEGERS = [found for found in DATATYPES if found.kind in {"int", "uint"}]


def wire(datatype_name: str, shape: tuple[int, ...], data: object) -> WireTensor:
    return WireTensor("x", datatype_name, shape, data)


def same(left: tensors.Array, right: tensors.Array) -> bool:
    return (
        left.shape == right.shape
        and left.dtype == right.dtype
        and left.tobytes() == right.tobytes()
    )


@given(strategies.tensors())
def test_any_array_survives_binary(drawn: tuple[Datatype, tensors.Array]) -> None:
    found, array = drawn

    encoded = tensors.encode(array, "x", found.name, binary=True)
    decoded = tensors.decode(encoded)

    assert decoded.shape == array.shape
    assert decoded.tolist() == array.tolist() if found.kind == "bytes" else same(decoded, array)


@given(strategies.tensors(finite=True, text=True), st.booleans())
def test_any_array_that_json_can_carry_survives_json(
    drawn: tuple[Datatype, tensors.Array], nested: bool
) -> None:
    found, array = drawn

    document = json.loads(encoding.encode_json([tensors.encode_json(array, found.name)]))[0]
    data = document if nested and array.ndim else flat(document, array.ndim)
    decoded = tensors.decode(wire(found.name, array.shape, data))

    assert decoded.shape == array.shape
    assert np.array_equal(decoded, array)


def flat(document: object, depth: int) -> list[object]:
    items = [document]
    for _ in range(depth):
        items = [value for item in items for value in item]  # type: ignore[attr-defined]
    return items


@given(st.binary(min_size=8, max_size=8), st.integers(0, 7))
def test_a_blob_at_any_address_becomes_an_aligned_array(blob: bytes, offset: int) -> None:
    view = memoryview(b"j" * offset + blob)[offset:]

    array = tensors.decode(wire("FP64", (1,), view))

    assert array.flags.aligned
    assert array.tobytes() == blob


@pytest.mark.parametrize("found", INTEGERS, ids=lambda found: found.name)
def test_extreme_integers_are_exact_in_json(found: Datatype) -> None:
    low, high = found.integer_range

    array = tensors.decode(wire(found.name, (2,), encoding.decode_json(f"[{low},{high}]".encode())))

    assert array.tolist() == [low, high]


@pytest.mark.parametrize("found", INTEGERS, ids=lambda found: found.name)
def test_integers_beyond_the_datatype_are_refused(found: Datatype) -> None:
    low, high = found.integer_range

    for value in (low - 1, high + 1):
        with raises(ValueOutOfRange, value, found.name, low, high):
            tensors.decode(wire(found.name, (1,), [value]))


@pytest.mark.parametrize(
    ("name", "value"), [("FP16", 65_520.0), ("FP32", 1e39), ("BF16", 3.4e38), ("FP64", 10**400)]
)
def test_floats_beyond_the_datatype_are_refused(name: str, value: float) -> None:
    with raises(ValueOutOfRange, name):
        tensors.decode(wire(name, (1,), [value]))


@pytest.mark.parametrize("name", ["FP16", "FP32", "FP64", "BF16"])
def test_json_null_is_nan_for_floats(name: str) -> None:
    array = tensors.decode(wire(name, (2,), [None, 1]))

    values = tensors.bfloat16_to_float32(array) if name == "BF16" else array
    assert np.isnan(values[0])
    assert values[1] == 1


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("FP32", [True]),
        ("FP32", ["1"]),
        ("INT32", [1.0]),
        ("INT32", [True]),
        ("INT32", [None]),
        ("BOOL", [1]),
        ("BYTES", [1]),
        ("BYTES", [None]),
        ("FP32", [{}]),
    ],
)
def test_elements_of_another_json_type_are_refused(name: str, data: list[object]) -> None:
    with raises(DatatypeMismatch, name):
        tensors.decode(wire(name, (1,), data))


def test_data_nested_deeper_than_the_shape_is_refused() -> None:
    with raises(ShapeMismatch, "nested"):
        tensors.decode(wire("FP32", (1,), [[1.0]]))


def test_a_bool_byte_other_than_0_and_1_is_refused() -> None:
    with raises(ValueOutOfRange, "BOOL", 2):
        tensors.decode(wire("BOOL", (2,), b"\x01\x02"))


@pytest.mark.parametrize(
    ("blob", "error", "data"),
    [
        (b"", MalformedRequest, ("0 of 2",)),
        (b"\x01\x00\x00\x00a\x01", MalformedRequest, ("1 of 2",)),
        (
            b"\xff\xff\xff\xff",
            MalformedRequest,
            ("element 0", 4294967295),
        ),
        (b"\x00\x00\x00\x00" * 3, ShapeMismatch, (4, 2)),
    ],
)
def test_broken_bytes_elements_are_refused(
    blob: bytes, error: type[Exception], data: tuple[object, ...]
) -> None:
    with raises(error, *data):
        tensors.decode(wire("BYTES", (2,), blob))


def test_bytes_that_are_no_utf8_have_no_json() -> None:
    with raises(DatatypeMismatch, "UTF-8", "binary data"):
        tensors.encode_json(strategies.object_array([b"\xff"], (1,)), "BYTES")


@given(arrays.arrays(np.float32, strategies.SHAPES))
def test_shortest_floats_are_the_same_numbers_with_the_fewest_digits(array: tensors.Array) -> None:
    short = tensors.shortest_floats(array)

    assert np.array_equal(short.astype(np.float32), array, equal_nan=True)
    assert [repr(float(value)) for value in short[np.isfinite(array)]] == [
        repr(float(str(value))) for value in array[np.isfinite(array)]
    ]


@given(arrays.arrays(np.float32, strategies.SHAPES))
def test_bfloat16_is_the_nearest_and_even_on_a_tie(array: tensors.Array) -> None:
    bits = tensors.float32_to_bfloat16(array)

    # The widened neighbours of the result are the only values that could lie nearer.
    back = tensors.bfloat16_to_float32(bits)
    assert bits.shape == array.shape
    assert np.array_equal(np.isnan(back), np.isnan(array))
    finite = np.isfinite(array) & np.isfinite(back)
    exact, rounded, pattern = (
        array[finite].astype(np.float64),
        back[finite].astype(np.float64),
        bits[finite],
    )
    for step in (1, -1):
        nearby = tensors.bfloat16_to_float32(pattern + np.uint16(step % 2**16)).astype(np.float64)
        closer = np.abs(nearby - exact) < np.abs(rounded - exact)
        tied = (np.abs(nearby - exact) == np.abs(rounded - exact)) & (nearby != rounded)
        assert not closer.any()
        assert (pattern[tied] % 2 == 0).all()


def test_every_numpy_name_of_the_table_is_the_size_it_says() -> None:
    sizes = {
        found.name: np.dtype(found.numpy).itemsize for found in DATATYPES if found.kind != "bytes"
    }

    assert sizes == {name: datatype(name).size_bytes for name in sizes}
