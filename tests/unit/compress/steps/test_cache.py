"""The cache of weights: an array is made once for all who need it and its dependencies."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxlift.compress.steps.cache import WeightCache
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from onnxlift.compress.steps.weight_blocks import WeightBlocks


def _never() -> tuple[np.ndarray, ...]:
    raise AssertionError


def _making(*made: np.ndarray) -> Callable[[], tuple[np.ndarray, ...]]:
    return lambda: made


def test_arrays_are_made_once(tmp_path: Path) -> None:
    cache, made = (
        WeightCache(tmp_path / "cache"),
        (np.arange(6, dtype=np.int8).reshape(2, 3), np.ones(3, np.float16)),
    )

    first = cache.take(("matrix", 8), _making(*made))
    second = cache.take(("matrix", 8), _never)

    assert [array.dtype for array in second] == [np.int8, np.float16]
    for array, again, wanted in zip(first, second, made, strict=True):
        np.testing.assert_array_equal(array, wanted)
        np.testing.assert_array_equal(again, wanted)


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    cache = WeightCache()

    cache.take(("a",), _making(np.zeros(1)))

    assert cache.take(("a",), _making(np.ones(1)))[0] == 1
    assert not list(tmp_path.iterdir())


def test_nothing_is_kept_of_what_failed(tmp_path: Path) -> None:
    cache = WeightCache(tmp_path)

    with pytest.raises(AssertionError):
        cache.take(("a",), _never)

    assert cache.take(("a",), _making(np.ones(1)))[0] == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (WeightBlocks(8), WeightBlocks(4)),
        (WeightBlocks(8), WeightBlocks(8, method="nearest")),
        (MatMulInt8(), MatMulInt8(saturation="ignore")),
        (MatMulInt8(), WeightBlocks(8)),
    ],
)
def test_other_settings_are_other_arrays(tmp_path: Path, one: object, other: object) -> None:
    cache = WeightCache(tmp_path)
    cache.take((one, "value"), _making(np.zeros(1)))

    assert cache.take((other, "value"), _making(np.ones(1)))[0] == 1


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    weight=arrays.arrays(np.float32, (2, 3), elements=st.floats(-1, 1, width=32)),
    place=st.integers(0, 5),
)
def test_one_other_value_is_another_array(tmp_path: Path, weight: np.ndarray, place: int) -> None:
    changed = weight.copy()
    changed.flat[place] += 1
    cache = WeightCache(tmp_path)
    cache.take(("w", weight), lambda: (weight,))

    assert cache.take(("w", changed), lambda: (changed,))[0].flat[place] == changed.flat[place]


def test_arrays_of_another_shape_or_type_are_others(tmp_path: Path) -> None:
    cache, zeros = WeightCache(tmp_path), np.zeros((2, 3), np.float32)
    cache.take((zeros,), _making(np.zeros(1)))

    assert cache.take((zeros.reshape(3, 2),), _making(np.ones(1)))[0] == 1
    assert cache.take((zeros.view(np.int32),), _making(np.ones(1)))[0] == 1


def test_two_processes_make_an_array_once(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
import numpy as np
from onnxlift.compress.steps.cache import WeightCache
folder = Path(sys.argv[1])
def make():
    (folder / f"made-{sys.argv[2]}").touch()
    time.sleep(0.5)
    return (np.full(1, int(sys.argv[2])),)
print(int(WeightCache(folder / "cache").take(("a",), make)[0][0]))
"""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in (1, 2)
    ]

    answers = [process.communicate(timeout=180)[0] for process in running]

    assert answers[0] == answers[1]
    assert len(list(tmp_path.glob("made-*"))) == 1


def test_nodes_that_are_left_out_change_nothing_in_how_the_others_are_stored() -> None:
    assert replace(WeightBlocks(only=("a",), exclude=("b",)), only=(), exclude=()) == WeightBlocks()
