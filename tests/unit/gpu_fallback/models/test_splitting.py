"""Batches too large for the memory: the same answers in portions, and an end where one row is too
much.
"""

from collections.abc import Mapping

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gpu_fallback.models.splitting import run_in_portions
from onnxlift_runtime.errors import InferenceFailed, MemoryExhausted
from onnxlift_runtime.tensors.arrays import Array
from tests.support.errors import raises


class Device:
    """Doubles ``x``, at most ``fits`` rows of it at once, and remembers how many rows it was
    given.
    """

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.tried: list[int] = []

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        rows = len(feeds["x"])
        self.tried.append(rows)
        if rows > self.fits:
            raise MemoryExhausted(f"{rows} rows are too many")
        return {"y": feeds["x"] * 2, "z": feeds["x"][:, 0]}


def feeds(rows: int) -> dict[str, Array]:
    return {
        "x": np.arange(rows * 3, dtype=np.float32).reshape(rows, 3),
        "mask": np.ones((rows, 1), np.int64),
    }


@given(rows=st.integers(1, 40), fits=st.integers(1, 40), limit=st.integers(0, 40))
def test_portions_give_the_answers_of_the_whole(rows: int, fits: int, limit: int) -> None:
    device, asked = Device(fits), feeds(rows)

    answers, found = run_in_portions(asked, limit, device.run)

    np.testing.assert_array_equal(answers["y"], asked["x"] * 2)
    np.testing.assert_array_equal(answers["z"], asked["x"][:, 0])
    assert found == limit or found <= fits


def test_a_batch_is_halved_until_it_fits() -> None:
    device = Device(2)

    _, limit = run_in_portions(feeds(8), 0, device.run)

    assert device.tried == [8, 4, 2, 2, 2, 2]
    assert limit == 2


def test_a_known_limit_is_kept_to_at_once() -> None:
    device = Device(2)

    run_in_portions(feeds(5), 2, device.run)

    assert device.tried == [2, 2, 1]


def test_one_row_that_does_not_fit_fails() -> None:
    device = Device(0)

    with raises(MemoryExhausted, "1 rows are too many"):
        run_in_portions(feeds(4), 0, device.run)

    assert device.tried == [4, 2, 1]


def test_an_output_without_rows_is_not_put_together() -> None:
    def run(asked: Mapping[str, Array]) -> dict[str, Array]:
        if len(asked["x"]) > 1:
            raise MemoryExhausted("too many")
        return {"mean": np.ones((), np.float32)}

    with raises(MemoryExhausted, "'mean'"):
        run_in_portions(feeds(2), 0, run)


def test_inputs_with_different_rows_are_never_cut() -> None:
    device = Device(1)

    with raises(MemoryExhausted, "3 rows are too many"):
        run_in_portions({**feeds(3), "other": np.ones((2, 1))}, 0, device.run)

    assert device.tried == [3]


def test_any_other_failure_is_nobody_elses() -> None:
    def run(_asked: Mapping[str, Array]) -> dict[str, Array]:
        raise InferenceFailed("broken")

    with raises(InferenceFailed, "broken"):
        run_in_portions(feeds(4), 0, run)


@given(rows=st.integers(1, 20), fits=st.integers(1, 20))
def test_portions_are_cut_on_the_axis_of_each_input_and_leave_shared_ones_whole(
    rows: int, fits: int
) -> None:
    axes = {"x": 0, "state": 1, "y": 1}
    state, rate = np.arange(rows * 2, dtype=np.float32).reshape(2, rows), np.array(3.0)

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        if len(feeds["x"]) > fits:
            raise MemoryExhausted("too many")
        return {"y": (feeds["state"] + feeds["x"]) * feeds["rate"]}

    asked: dict[str, Array] = {"x": np.ones(rows), "state": state, "rate": rate}
    answers, _ = run_in_portions(asked, 0, run, axes.get)

    np.testing.assert_array_equal(answers["y"], (state + 1) * 3)
