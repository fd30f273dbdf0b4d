"""Weights beside a model are read where they are plain files in its folder, and refused with one
line where not.
"""

import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from onnxlift.compress.model.reading import read_graph, read_source
from tests.support import builders
from tests.support.compress.files import external, refusal


def test_weights_beside_the_model_are_read_into_it(tmp_path: Path) -> None:
    path = external(tmp_path)

    source = read_source(path)

    assert not source.self_contained
    assert source.size_bytes == path.stat().st_size + (tmp_path / "weights.bin").stat().st_size
    assert [tensor.raw_data for tensor in source.proto.graph.initializer] == [
        tensor.raw_data for tensor in builders.mlp().graph.initializer
    ]


def test_the_digest_covers_the_weights_beside_the_model(tmp_path: Path) -> None:
    path = external(tmp_path)
    before = read_source(path).sha256
    weights = bytearray((tmp_path / "weights.bin").read_bytes())
    weights[0] ^= 1

    (tmp_path / "weights.bin").write_bytes(weights)

    assert read_source(path).sha256 != before


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd",
        "../weights.bin",
        "inner/../../weights.bin",
        "..\\weights.bin",
        "C:\\weights.bin",
        "\\\\server\\weights.bin",
        "a\0b",
        "",
        ".",
    ],
)
def test_weights_that_leave_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    message = refusal(external(tmp_path, location))

    assert "leaves the model's folder" in message or "is not a file" in message
    assert "'w1'" in message


def test_weights_in_a_missing_file_are_refused(tmp_path: Path) -> None:
    assert "is not a file" in refusal(external(tmp_path, "other.bin"))


def _symbolic(weights: Path, other: Path) -> None:
    weights.rename(other)
    weights.symlink_to(other)


def _hard(weights: Path, other: Path) -> None:
    os.link(weights, other)


@pytest.mark.parametrize("link", [_symbolic, _hard])
def test_weights_that_are_a_link_are_refused(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    path = external(tmp_path)
    link(tmp_path / "weights.bin", tmp_path / "secret.bin")

    assert "is a link" in refusal(path)


def test_weights_below_a_linked_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = external(tmp_path / "model", "inner/weights.bin")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "weights.bin").write_bytes(bytes(100_000))
    (tmp_path / "model" / "inner").symlink_to(tmp_path / "elsewhere")

    assert "is a link" in refusal(path)


@pytest.mark.parametrize(
    "entries", [{"offset": "999999999"}, {"length": "999999999"}, {"offset": "-1"}, {"length": "x"}]
)
def test_weights_outside_their_file_are_refused(tmp_path: Path, entries: dict[str, str]) -> None:
    message = refusal(external(tmp_path, **entries))

    assert "has no bytes" in message or "is no number" in message


def test_weights_whose_file_is_shorter_than_their_shape_are_refused(tmp_path: Path) -> None:
    path = external(tmp_path)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        kept = [entry for entry in tensor.external_data if entry.key != "length"]
        del tensor.external_data[:]
        tensor.external_data.extend(kept)
    path.write_bytes(model.SerializeToString())
    (tmp_path / "weights.bin").write_bytes(bytes(100))

    assert "has no bytes" in refusal(path)


def test_weights_of_another_length_than_their_shape_are_refused(tmp_path: Path) -> None:
    assert "has 4 bytes for it, its shape takes 4096" in refusal(external(tmp_path, length="4"))


@pytest.mark.parametrize(
    ("kind", "dims"), [(99, [1]), (TensorProto.FLOAT, [-1]), (TensorProto.FLOAT, [2**40] * 2)]
)
def test_weights_of_a_size_that_cannot_be_are_refused(
    tmp_path: Path, kind: int, dims: list[int]
) -> None:
    path = external(tmp_path)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].data_type = kind
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    path.write_bytes(model.SerializeToString())

    assert "weights 'w1'" in refusal(path)


def test_a_graph_is_read_without_the_weights_beside_it(tmp_path: Path) -> None:
    path = external(tmp_path)

    graph = read_graph(path)

    assert graph.beside == (tmp_path / "weights.bin",)
    assert graph.size_bytes == read_source(path).size_bytes
    assert not any(tensor.raw_data for tensor in graph.proto.graph.initializer)
