"""numpy's files: whatever is wrong with one, it is a ``ValueError`` in one sentence."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxlift.arrays import opened, save_arrays
from tests.support.errors import raises

ROWS = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)


def _read(path: Path) -> dict[str, Any]:
    with opened(path) as found:
        return (
            {"": found}
            if isinstance(found, np.ndarray)
            else {name: found[name] for name in found.files}
        )


def test_one_array_or_several_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", ROWS)
    np.savez_compressed(tmp_path / "several.npz", a=ROWS, b=ROWS[:1])

    one, several = _read(tmp_path / "one.npy"), _read(tmp_path / "several.npz")

    np.testing.assert_array_equal(one[""], ROWS)
    assert {name: len(array) for name, array in several.items()} == {"a": 20, "b": 1}


@pytest.mark.parametrize("name", ["file", "args", "allow_pickle", "in put:0", "a/b", "x.0", "é"])
def test_arrays_of_any_name_are_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.npz"

    save_arrays(path, {name: np.arange(3), "b": np.array([b"one"])})

    with np.load(path, allow_pickle=False) as found:
        assert found.files == [name, "b"]
        assert found[name].tolist() == [0, 1, 2]


@pytest.mark.parametrize("content", [b"", b"\x08\x0a an onnx model", b"PK"])
def test_a_file_of_another_kind_is_none_and_nothing_is_said_of_pickles(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "x.npz").write_bytes(content)

    with raises(ValueError) as told:
        _read(tmp_path / "x.npz")

    assert str(told.value)
    assert "pickle" not in str(told.value)


def test_a_missing_file_is_told_by_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _read(tmp_path / "nowhere.npy")


def test_a_file_whose_directory_leads_out_of_it_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, ROWS)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x05\x06") + 16 + 3] = 1  # where the directory is said to begin
    path.write_bytes(content)

    with raises(ValueError, "directory"):
        _read(path)


@pytest.mark.filterwarnings(
    "ignore:Reading .* required additional header parsing"
)  # a damage that looks like Python 2
@settings(max_examples=200)
@given(st.sampled_from([np.save, np.savez, np.savez_compressed]), st.data())
def test_a_damaged_file_is_read_or_a_value_error(
    save: Callable[..., None], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("x.npy" if save is np.save else "x.npz")
        save(path, ROWS)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)

        with contextlib.suppress(ValueError):
            assert len(_read(path)) == 1
