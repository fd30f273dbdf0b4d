"""Samples: plain arrays only, checked against the model, and never shared between calibration and
gate.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift.compress.model.samples import Samples, load_samples, require_disjoint
from onnxlift_runtime.errors import SamplesInvalid
from tests.support.builders import spec
from tests.support.errors import raises

X = spec("x", "FP32", (-1, 2))


def _write(folder: Path, **arrays: Any) -> Path:
    path = folder / "samples.npz"
    np.savez(path, **arrays)
    return path


def _rows(count: int, dtype: Any = np.float32) -> np.ndarray:
    return np.arange(count * 2).reshape(count, 2).astype(dtype)


def test_arrays_and_labels_are_read(tmp_path: Path) -> None:
    path = _write(tmp_path, x=_rows(3), labels=np.array([0, 1, 0]), other=np.zeros(9))

    samples = load_samples(path, [X], labels="labels")

    assert len(samples) == 3
    assert list(samples.arrays) == ["x"]
    np.testing.assert_array_equal(samples.arrays["x"], _rows(3))
    np.testing.assert_array_equal(samples.labels if samples.labels is not None else [], [0, 1, 0])


def test_other_byte_orders_are_turned_round(tmp_path: Path) -> None:
    path = _write(tmp_path, x=_rows(3, ">f4"))

    array = load_samples(path, [X]).arrays["x"]

    assert array.dtype == np.dtype(np.float32)
    np.testing.assert_array_equal(array, _rows(3))


def test_text_becomes_bytes(tmp_path: Path) -> None:
    path = _write(tmp_path, t=np.array([["ä"], ["bc"]]))

    array = load_samples(path, [spec("t", "BYTES", (-1, 1))]).arrays["t"]

    assert array.tolist() == [["ä".encode()], [b"bc"]]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": _rows(3)}, ["no array 'x'", "it has 'y'"]),
        ({"x": _rows(3, np.float64)}, ["array 'x' is float64", "FP32 (float32)"]),
        ({"x": np.zeros((3, 5), np.float32)}, ["array 'x' has shape [3, 5]", "[samples, 2]"]),
        ({"x": np.zeros((3, 2, 1), np.float32)}, ["has shape [3, 2, 1]", "[samples, 2]"]),
        ({"x": np.float32(1)}, ["array 'x' has no dimensions"]),
        ({"x": np.zeros((0, 2), np.float32), "labels": np.zeros(0)}, ["holds no samples"]),
        ({"x": _rows(3), "labels": np.zeros(2)}, ["same number of samples", "'x' 3", "'labels' 2"]),
        ({"x": _rows(3), "classes": np.zeros(3)}, ["no array 'labels'", "it has 'x', 'classes'"]),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_both_sides(
    tmp_path: Path, arrays: dict[str, Any], words: list[str]
) -> None:
    path = _write(tmp_path, **arrays)

    with pytest.raises(SamplesInvalid) as caught:
        load_samples(path, [X], labels="labels" if len(arrays) > 1 else None)

    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    path = _write(tmp_path, x=np.array([Trap()], dtype=object))

    with raises(SamplesInvalid, "plain arrays"):
        load_samples(path, [X])
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04broken"])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "samples.npz"
    path.write_bytes(content)

    with raises(SamplesInvalid, "readable"):
        load_samples(path, [X])


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "samples.npy"
    np.save(path, _rows(3))

    with raises(SamplesInvalid, "single array"):
        load_samples(path, [X])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with raises(SamplesInvalid, "nowhere.npz"):
        load_samples(tmp_path / "nowhere.npz", [X])


@given(st.integers(1, 300), st.integers(1, 300))
def test_a_limit_keeps_the_first_the_last_and_no_sample_twice(count: int, limit: int) -> None:
    samples = Samples({"x": _rows(count)}, np.arange(count))

    limited = samples.limit(limit)

    assert limited.labels is not None
    kept = limited.labels.tolist()
    assert len(kept) == min(count, limit)
    assert kept == sorted(set(kept))
    assert kept[0] == 0
    assert limit == 1 or kept[-1] == count - 1
    np.testing.assert_array_equal(limited.arrays["x"], _rows(count)[kept])


@given(st.integers(1, 50), st.integers(1, 60))
def test_batches_hold_every_sample_once_in_order(count: int, rows: int) -> None:
    batches = [batch["x"] for batch in Samples({"x": _rows(count)}).batches(rows)]

    assert all(len(batch) == rows for batch in batches[:-1])
    np.testing.assert_array_equal(np.concatenate(batches), _rows(count))


def test_a_sample_that_calibrates_cannot_judge() -> None:
    calibration, held_out = Samples({"x": _rows(5)}), Samples({"x": _rows(3)})

    with raises(SamplesInvalid, "3 of 3", "c.npz"):
        require_disjoint(calibration, held_out, Path("c.npz"))


def test_samples_that_differ_in_one_input_are_different() -> None:
    calibration = Samples({"x": _rows(3), "y": np.zeros(3)})
    others = Samples({"x": _rows(3), "y": np.ones(3)})

    require_disjoint(calibration, others, Path("c.npz"))
    with pytest.raises(SamplesInvalid):
        require_disjoint(calibration, calibration, Path("c.npz"))
