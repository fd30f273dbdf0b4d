"""Arrays from what a person writes on the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift.client import read_input
from onnxlift_runtime.errors import (
    DatatypeMismatch,
    InputMismatch,
    OnnxliftError,
    ShapeMismatch,
    ValueOutOfRange,
)
from onnxlift_runtime.manifest import TensorSpec
from tests.support.errors import raises

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


def _spec(datatype: str = "FP32", *shape: int) -> TensorSpec:
    return TensorSpec("x", datatype, shape or (-1, 4))


@pytest.mark.parametrize(
    ("text", "spec", "expected"),
    [
        ("[[1,2,3,4]]", _spec(), [[1, 2, 3, 4]]),
        ("[1,2,3,4]", _spec(), [[1, 2, 3, 4]]),
        ("7", _spec("INT64", -1, 1), [[7]]),
        ("7", _spec("INT64", -1), [7]),
        ("7", _spec("FP64", 1), [7.0]),
        ("true", _spec("BOOL", -1), [True]),
        ("1e3", _spec("FP16", -1, 1), [[1000]]),
        ("hello, world", _spec("BYTES", -1, 1), [[b"hello, world"]]),
        ("7", _spec("BYTES", -1), [b"7"]),
        ('["a","b"]', _spec("BYTES", -1), [b"a", b"b"]),
        ('["a","b"]', _spec("BYTES", -1, 2), [[b"a", b"b"]]),
    ],
)
def test_text_becomes_the_array_the_model_takes(
    text: str, spec: TensorSpec, expected: list[Any]
) -> None:
    assert read_input(text, spec).tolist() == expected


def test_nan_and_infinity_are_numbers() -> None:
    array = read_input("[NaN, Infinity, -Infinity, 0]", _spec())

    np.testing.assert_array_equal(array, [[np.nan, np.inf, -np.inf, 0]])


@pytest.mark.parametrize(
    ("text", "spec", "data"),
    [
        ("[1,2,3]", _spec(), ("[1,3]", "[-1,4]")),
        ("[[[1]]]", _spec(), ("[1,1,1]",)),
        ("[[1,2,3,4],[1]]", _spec(), ("nested",)),
        ("[1.5,2,3,4]", _spec("INT32", -1, 4), ("INT32",)),
        ("300", _spec("UINT8", -1), ("UINT8", 0, 255)),
        ("[1,2", _spec(), ("@FILE",)),
        ("seven", _spec(), ("@FILE",)),
        ('["a"]', _spec("FP32", -1), ("FP32",)),
        ('{"a":1}', _spec("FP32", -1), ("FP32",)),
        ("@nowhere.npy", _spec(), ("nowhere.npy", "No such file")),
        ("@picture.png", _spec(), (".npy", ".npz", ".json")),
    ],
)
def test_what_does_not_fit_is_told_with_input_and_expectation(
    text: str, spec: TensorSpec, data: tuple[object, ...]
) -> None:
    with raises(OnnxliftError, *data):
        read_input(text, spec)


def test_npy_files_are_read_and_their_rows_taken(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, ROWS)

    whole, one, some, rest = (
        read_input(f"@{path}{rows}", _spec()) for rows in ("", "[1]", "[0:2]", "[1:]")
    )

    np.testing.assert_array_equal(whole, ROWS)
    np.testing.assert_array_equal(one, ROWS[1:2])
    np.testing.assert_array_equal(some, ROWS[:2])
    np.testing.assert_array_equal(rest, ROWS[1:])


def test_a_row_that_is_not_there_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)

    with raises(ShapeMismatch, "0 to 2", 3):
        read_input(f"@{tmp_path}/rows.npy[3]", _spec())


def test_npz_files_give_the_array_with_the_inputs_name_or_the_only_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "named.npz", x=ROWS, labels=np.zeros(3))
    np.savez(tmp_path / "single.npz", anything=ROWS)

    arrays = [read_input(f"@{tmp_path}/{name}.npz", _spec()) for name in ("named", "single")]

    np.testing.assert_array_equal(arrays, [ROWS, ROWS])


def test_an_npz_without_the_inputs_name_lists_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=ROWS, b=ROWS)

    with raises(InputMismatch, "'x'", "a, b"):
        read_input(f"@{tmp_path}/other.npz", _spec())


@pytest.mark.parametrize("document", [ROWS.tolist(), {"x": ROWS.tolist()}])
def test_json_files_hold_the_array_or_name_it(tmp_path: Path, document: Any) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(document))

    np.testing.assert_array_equal(read_input(f"@{tmp_path}/rows.json", _spec()), ROWS)


def test_any_file_is_one_bytes_element(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_bytes(b"one\ntwo")

    assert read_input(f"@{tmp_path}/note.txt", _spec("BYTES", -1, 1)).tolist() == [[b"one\ntwo"]]


def test_a_broken_or_pickled_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.npy").write_bytes(b"no array")
    (tmp_path / "broken.npz").write_bytes(b"PK no zip")
    np.save(tmp_path / "pickled.npy", np.array([object()]), allow_pickle=True)

    for name in ("broken.npy", "broken.npz", "pickled.npy"):
        with raises(InputMismatch, name):
            read_input(f"@{tmp_path}/{name}", _spec())


def test_files_are_converted_where_nothing_is_lost(tmp_path: Path) -> None:
    np.save(tmp_path / "whole.npy", np.array([1.0, 2.0]))
    np.save(tmp_path / "words.npy", np.array(["a", "é"]))

    assert read_input(f"@{tmp_path}/whole.npy", _spec("INT8", -1)).dtype == np.int8
    assert read_input(f"@{tmp_path}/whole.npy", _spec("BF16", -1)).tolist() == [0x3F80, 0x4000]
    assert read_input(f"@{tmp_path}/words.npy", _spec("BYTES", -1)).tolist() == [b"a", "é".encode()]


@pytest.mark.parametrize(
    ("array", "datatype", "error"),
    [
        (np.array([1.5]), "INT8", ValueOutOfRange),
        (np.array([300]), "UINT8", ValueOutOfRange),
        (np.array([1e300]), "FP32", ValueOutOfRange),
        (np.array([1]), "BOOL", DatatypeMismatch),
        (np.array([True]), "FP32", DatatypeMismatch),
        (np.array(["a"]), "FP32", DatatypeMismatch),
        (np.array([1]), "BYTES", DatatypeMismatch),
    ],
)
def test_files_are_refused_where_a_value_would_change(
    tmp_path: Path, array: np.ndarray, datatype: str, error: type[Exception]
) -> None:
    np.save(tmp_path / "x.npy", array)

    with pytest.raises(error):
        read_input(f"@{tmp_path}/x.npy", _spec(datatype, -1))


@given(st.text(max_size=40))
def test_any_text_is_an_array_or_one_of_our_errors(text: str) -> None:
    if text.startswith("@"):
        return
    for spec in (_spec(), _spec("INT64", -1), _spec("BYTES", -1)):
        try:
            array = read_input(text, spec)
        except OnnxliftError:
            continue
        assert array.ndim == len(spec.shape)
