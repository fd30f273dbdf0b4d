"""Samples: plain arrays only, checked against the model, and never shared between calibration and
gate.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift.compress.model.batch import Batch
from onnxlift.compress.model.samples import (
    Samples,
    load_samples,
    read_stored,
    require_disjoint,
)
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

    array = np.asarray(load_samples(path, [X]).arrays["x"])

    assert array.dtype == np.dtype(np.float32)
    np.testing.assert_array_equal(array, _rows(3))


def test_text_becomes_bytes(tmp_path: Path) -> None:
    path = _write(tmp_path, t=np.array([["ä"], ["bc"]]))

    array = np.asarray(load_samples(path, [spec("t", "BYTES", (-1, 1))]).arrays["t"])

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


STATE = Batch({"x": 0, "state": 1})
PAIR = [spec("x", "FP32", (-1, 2)), spec("state", "FP32", (2, -1, 3)), spec("sr", "INT64", ())]


def _pair(count: int) -> dict[str, np.ndarray]:
    state = np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3)
    return {"x": _rows(count), "state": state, "sr": np.array(16_000)}


def test_rows_go_to_the_axis_of_each_input_and_shared_ones_stay(tmp_path: Path) -> None:
    arrays = _pair(3)

    samples = load_samples(_write(tmp_path, **arrays), PAIR, batch=STATE)
    first, second = samples.batches(2)

    assert {name: array.shape for name, array in first.items()} == {
        "x": (2, 2), "state": (2, 2, 3), "sr": (),
    }  # fmt: skip
    np.testing.assert_array_equal(first["state"][:, 1], arrays["state"][1])
    np.testing.assert_array_equal(second["state"][:, 0], arrays["state"][2])


def test_samples_whose_shared_inputs_differ_do_not_run_together(tmp_path: Path) -> None:
    arrays = {**_pair(4), "sr": np.array([8, 8, 16, 8])}

    samples = load_samples(_write(tmp_path, **arrays), PAIR, batch=STATE)

    assert [int(feed["sr"]) for feed in samples.batches(4)] == [8, 16, 8]
    assert [len(feed["x"]) for feed in samples.batches(4)] == [2, 1, 1]


def test_samples_of_several_shapes_are_numbered(tmp_path: Path) -> None:
    wide = spec("x", "FP32", (-1, -1))
    arrays = {f"x.{row}": np.full(size, row, np.float32) for row, size in enumerate([3, 3, 5])}
    path = _write(tmp_path, **arrays, **{"x.10": np.zeros(5, np.float32)}, labels=np.arange(4))

    samples = load_samples(path, [wide], "labels", Batch({"x": 0}))

    assert len(samples) == 4
    assert [feed["x"].shape for feed in samples.batches(2)] == [(2, 3), (2, 5)]
    assert [feed["x"].shape for feed in samples.take([2, 0]).batches(2)] == [(1, 5), (1, 3)]
    assert samples.repeated(3)["x"].shape == (3, 5)


def test_a_sample_of_a_model_without_a_batch_is_a_whole_array(tmp_path: Path) -> None:
    boxes = spec("boxes", "FP32", (-1, 6))
    path = _write(tmp_path, **{f"boxes.{row}": np.zeros((row, 6), np.float32) for row in (2, 4)})

    samples = load_samples(path, [boxes], batch=Batch())

    assert [feed["boxes"].shape for feed in samples.batches(32)] == [(2, 6), (4, 6)]


@pytest.mark.parametrize("shape", [(5, 3, 4), (5, 1, 3, 4)])
def test_a_first_dimension_of_one_may_be_left_out(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = _write(tmp_path, image=np.zeros(shape, np.float32))

    samples = load_samples(path, [spec("image", "FP32", (1, 3, 4))], batch=Batch())

    assert [feed["image"].shape for feed in samples.batches(2)] == [(1, 3, 4)] * 5


@pytest.mark.parametrize(("batch", "shape", "advice"), [
    (Batch(), (5, 6), "batch_axis = {boxes = 0}"),
    (Batch({"boxes": 0}), (5, 7, 6), 'batch = "none"'),
])  # fmt: skip
def test_samples_that_contradict_the_batch_say_what_to_write(
    tmp_path: Path, batch: Batch, shape: tuple[int, ...], advice: str
) -> None:
    path = _write(tmp_path, boxes=np.zeros(shape, np.float32))

    with raises(SamplesInvalid, "'boxes'", list(shape), advice):
        load_samples(path, [spec("boxes", "FP32", (-1, 6))], batch=batch)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.booleans())
def test_what_is_stored_is_read_again(sizes: list[int], even: bool) -> None:
    specs = [spec("x", "FP32", (-1, -1)), spec("t", "BYTES", (-1,))]
    arrays = [np.arange(3 if even else size, dtype=np.float32) for size in sizes]
    column = np.stack(arrays) if even else tuple(arrays)
    texts = np.array([b"a"] * len(sizes), dtype=object)
    samples = Samples({"x": column, "t": texts}, batch=Batch({"x": 0, "t": 0}))

    with TemporaryDirectory() as folder:
        samples.store(Path(folder) / "s.npz")
        again = read_stored(Path(folder) / "s.npz", specs, samples.batch)

    assert again.digests() == samples.digests()


def test_one_feed_repeats_rows_and_keeps_what_they_share(tmp_path: Path) -> None:
    samples = load_samples(_write(tmp_path, **_pair(2)), PAIR, batch=STATE)

    feed = samples.repeated(5)

    assert {name: array.shape for name, array in feed.items()} == {
        "x": (5, 2), "state": (2, 5, 3), "sr": (),
    }  # fmt: skip
    np.testing.assert_array_equal(feed["x"], _rows(2)[[0, 1, 0, 1, 0]])
