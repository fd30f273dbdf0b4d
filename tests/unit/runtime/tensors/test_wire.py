import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.errors import (
    DatatypeMismatch,
    InputMismatch,
    MalformedRequest,
    PayloadTooLarge,
    ShapeMismatch,
)
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors import wire
from onnxlift_runtime.tensors.wire import WireTensor
from tests.support import builders
from tests.support.runtime import strategies

MODEL = builders.manifest(
    (builders.spec("x", "FP32", (-1, 4)), builders.spec("ids", "BYTES", (-1,))),
    name="m",
    max_batch_size=8,
)
X, IDS = MODEL.inputs
LIMITS = Limits()


def tensor(*shape: int, data: Any = (), name: str = "x", datatype: str = "FP32") -> WireTensor:
    return WireTensor(name, datatype, shape, list(data) if isinstance(data, tuple) else data)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["x", "ids", "y"], "has no input 'y'; its inputs: 'x', 'ids'"),
        (["x", "x", "ids"], "input 'x' is given 2 times, expected once"),
        (["x"], "input 'ids' is missing; model 'm' takes: 'x', 'ids'"),
        ([], "input 'x' is missing"),
    ],
)
def test_names_that_are_not_each_input_once_are_refused(names: list[str], why: str) -> None:
    with pytest.raises(InputMismatch, match=why):
        wire.check_names(names, MODEL)


def test_names_may_come_in_any_order() -> None:
    wire.check_names(["ids", "x"], MODEL)
    with pytest.raises(InputMismatch):
        wire.check_names(["ids", "ids"], MODEL)


@pytest.mark.parametrize(
    ("found", "error", "why"),
    [
        (tensor(1, 4, datatype="FP64"), DatatypeMismatch, "datatype FP64, the model takes FP32"),
        (tensor(4), ShapeMismatch, r"shape \[4\], the model takes \[-1,4\]"),
        (tensor(), ShapeMismatch, r"shape \[\], the model takes \[-1,4\]"),
        (tensor(1, 5), ShapeMismatch, r"shape \[1,5\]"),
        (tensor(9, 4), ShapeMismatch, "a batch of 9, the model takes at most 8"),
        (
            tensor(1, 4, data=b"123"),
            ShapeMismatch,
            r"3 bytes of data, shape \[1,4\] and datatype FP32 need 16",
        ),
        (tensor(*[1] * 17), ShapeMismatch, "has 17 dimensions"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(
    found: WireTensor, error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        wire.check_input(found, X, MODEL, LIMITS)


def test_a_shape_that_fits_and_needs_too_much_memory_is_refused() -> None:
    free = builders.manifest((builders.spec("x", "FP64", (-1, -1)),), max_batch_size=0)

    with pytest.raises(PayloadTooLarge, match="takes 8796093022208 bytes"):
        wire.check_input(tensor(2**20, 2**20, datatype="FP64"), free.inputs[0], free, LIMITS)


def test_inputs_with_different_batches_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match=r"\('x' 2, 'ids' 3\)"):
        wire.check_batch([tensor(2, 4), tensor(3, name="ids")], MODEL)


def test_inputs_of_a_model_without_batches_may_differ() -> None:
    inputs = [tensor(2, 4), tensor(3, name="ids")]

    wire.check_batch(inputs, builders.manifest(max_batch_size=0))
    with pytest.raises(ShapeMismatch):
        wire.check_batch(inputs, builders.manifest(max_batch_size=8))


@given(strategies.SHAPES)
def test_flat_and_nested_data_are_the_same(shape: tuple[int, ...]) -> None:
    flat = list(range(math.prod(shape)))
    nested = np.arange(len(flat)).reshape(shape).tolist() if shape else flat

    assert wire.flatten(tensor(*shape, data=flat)) == flat
    assert wire.flatten(tensor(*shape, data=nested)) == flat


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ((2, 2), [[1, 2], [3]]),
        ((2, 2), [1, 2, 3]),
        ((2, 2), [[1, 2], 3]),
        ((2, 2), [[1, 2], [3, 4], [5, 6]]),
        ((), []),
        ((), [1, 2]),
        ((), [[1]]),
        ((0, 3), [[]]),
        ((2, 2, 2), [[1, 2, 3, 4], [5, 6, 7, 8]]),
    ],
)
def test_uneven_data_are_refused(shape: tuple[int, ...], data: list[Any]) -> None:
    with pytest.raises(ShapeMismatch, match="data that is not"):
        wire.flatten(tensor(*shape, data=data))


JSON = st.recursive(
    st.none() | st.integers(-2, 2) | st.text(max_size=2), lambda item: st.lists(item, max_size=3)
)


@given(st.lists(st.integers(0, 3), max_size=3), st.lists(JSON, max_size=4))
def test_any_list_is_flattened_to_as_many_elements_or_refused(
    shape: list[int], data: list[Any]
) -> None:
    try:
        flat = wire.flatten(tensor(*shape, data=data))
    except ShapeMismatch:
        return
    assert len(flat) == math.prod(shape)


@pytest.mark.parametrize(
    ("value", "shape"),
    [(1, ()), ([], (0,)), ([1, 2], (2,)), ([[1], [2]], (2, 1)), ([[[]]], (1, 1, 0))],
)
def test_the_shape_of_nested_lists_is_read_along_the_first_elements(
    value: Any, shape: tuple[int, ...]
) -> None:
    assert wire.nested_shape(value) == shape


@pytest.mark.parametrize(
    ("value", "kind", "why"),
    [
        (True, int, "it is a boolean, expected a whole number"),
        (None, dict, "it is null, expected an object"),
        (1.5, int, "it is a number, expected a whole number"),
        ([], (str, int), "it is an array, expected a string or a whole number"),
    ],
)
def test_a_value_of_another_kind_is_told_in_json_words(value: Any, kind: Any, why: str) -> None:
    with pytest.raises(MalformedRequest, match=why):
        wire.expect(value, kind, "it")


def test_null_stands_for_an_optional_member_that_was_left_out() -> None:
    assert wire.optional({"id": None}, "id", "") == wire.optional({}, "id", "") == ""
    assert wire.optional({"id": "a"}, "id", "") == "a"
