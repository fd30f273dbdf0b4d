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
from tests.support.errors import raises
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
    ("names", "data"),
    [
        (["x", "ids", "y"], ("'y'", "'x', 'ids'")),
        (["x", "x", "ids"], ("'x'", 2)),
        (["x"], ("'ids'", "'m'", "'x', 'ids'")),
        ([], ("'x'",)),
    ],
)
def test_names_that_are_not_each_input_once_are_refused(
    names: list[str], data: tuple[object, ...]
) -> None:
    with raises(InputMismatch, *data):
        wire.check_names(names, MODEL)


def test_names_may_come_in_any_order() -> None:
    wire.check_names(["ids", "x"], MODEL)
    with pytest.raises(InputMismatch):
        wire.check_names(["ids", "ids"], MODEL)


@pytest.mark.parametrize(
    ("found", "error", "data"),
    [
        (tensor(1, 4, datatype="FP64"), DatatypeMismatch, ("FP64", "FP32")),
        (tensor(4), ShapeMismatch, ("[4]", "[-1,4]")),
        (tensor(), ShapeMismatch, ("[]", "[-1,4]")),
        (tensor(1, 5), ShapeMismatch, ("[1,5]",)),
        (tensor(9, 4), ShapeMismatch, (9, 8)),
        (
            tensor(1, 4, data=b"123"),
            ShapeMismatch,
            (3, "[1,4]", "FP32", 16),
        ),
        (tensor(*[1] * 17), ShapeMismatch, (17,)),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(
    found: WireTensor, error: type[Exception], data: tuple[object, ...]
) -> None:
    with raises(error, *data):
        wire.check_input(found, X, MODEL, LIMITS)


def test_a_shape_that_fits_and_needs_too_much_memory_is_refused() -> None:
    free = builders.manifest((builders.spec("x", "FP64", (-1, -1)),), max_batch_size=0)

    with raises(PayloadTooLarge, 8796093022208):
        wire.check_input(tensor(2**20, 2**20, datatype="FP64"), free.inputs[0], free, LIMITS)


def test_inputs_with_different_batches_are_refused() -> None:
    with raises(ShapeMismatch, "'x' 2", "'ids' 3"):
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
    with raises(ShapeMismatch, "'x'", "data"):
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
    ("value", "kind", "data"),
    [
        (True, int, ("boolean", "whole number")),
        (None, dict, ("null", "object")),
        (1.5, int, ("number", "whole number")),
        ([], (str, int), ("array", "string", "whole number")),
    ],
)
def test_a_value_of_another_kind_is_told_in_json_words(
    value: Any, kind: Any, data: tuple[object, ...]
) -> None:
    with raises(MalformedRequest, *data):
        wire.expect(value, kind, "it")


def test_null_stands_for_an_optional_member_that_was_left_out() -> None:
    assert wire.optional({"id": None}, "id", "") == wire.optional({}, "id", "") == ""
    assert wire.optional({"id": "a"}, "id", "") == "a"
