"""Model files that are broken, foreign or hostile are refused with one line; weights beside a good one are read."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from onnxlift.compress.source import opset, read_source, walk
from onnxlift_runtime.errors import ModelRefused
from tests import builders


def _write(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def _external(folder: Path, location: str | None = None, **entries: str) -> Path:
    """``mlp`` with its weights in ``weights.bin``; then the first weight is told to lie at ``location``."""
    path = folder / "model.onnx"
    onnx.save(builders.mlp(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location" and location is not None:
            entry.value = location
        entry.value = entries.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())
    return path


def _refusal(path: Path) -> str:
    with pytest.raises(ModelRefused) as caught:
        read_source(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message


def test_a_plain_model_is_read_with_digest_and_size(tmp_path: Path) -> None:
    path = _write(tmp_path, builders.mlp())

    source = read_source(path)

    assert source.proto == builders.mlp()
    assert source.self_contained
    assert (source.size_bytes, len(source.sha256)) == (path.stat().st_size, 64)
    assert opset(source.proto) == builders.OPSET


def test_weights_beside_the_model_are_read_into_it(tmp_path: Path) -> None:
    path = _external(tmp_path)

    source = read_source(path)

    assert not source.self_contained
    assert source.size_bytes == path.stat().st_size + (tmp_path / "weights.bin").stat().st_size
    assert [tensor.raw_data for tensor in source.proto.graph.initializer] == [
        tensor.raw_data for tensor in builders.mlp().graph.initializer
    ]


def test_the_digest_covers_the_weights_beside_the_model(tmp_path: Path) -> None:
    path = _external(tmp_path)
    before = read_source(path).sha256
    weights = bytearray((tmp_path / "weights.bin").read_bytes())
    weights[0] ^= 1

    (tmp_path / "weights.bin").write_bytes(weights)

    assert read_source(path).sha256 != before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 torch", "a zip archive"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"\x80\x04\x95", "a Python pickle"),
        (b"hello, I am text", "is not an ONNX model"),
        (bytes(64), "is not an ONNX model"),
        (builders.mlp().SerializeToString()[:-200], "is not an ONNX model"),
        (onnx.ModelProto(ir_version=10).SerializeToString(), "holds no graph"),
    ],
)
def test_a_foreign_or_broken_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    assert words in _refusal(path)


@given(st.integers(0, len(builders.linear().SerializeToString()) - 1))
def test_a_model_cut_off_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "model.onnx"
    path.write_bytes(builders.linear().SerializeToString()[:length])

    _refusal(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "No such file" in _refusal(tmp_path / "nowhere.onnx")
    assert "Is a directory" in _refusal(tmp_path)


def test_an_invalid_graph_is_refused(tmp_path: Path) -> None:
    model = builders.linear()
    model.graph.node[0].input[0] = "nobody"

    assert "is not a valid model" in _refusal(_write(tmp_path, model))


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
    message = _refusal(_external(tmp_path, location))

    assert "leaves the model's folder" in message or "is not a file" in message
    assert "'w1'" in message


def test_weights_in_a_missing_file_are_refused(tmp_path: Path) -> None:
    assert "is not a file" in _refusal(_external(tmp_path, "other.bin"))


def _symbolic(weights: Path, other: Path) -> None:
    weights.rename(other)
    weights.symlink_to(other)


def _hard(weights: Path, other: Path) -> None:
    os.link(weights, other)


@pytest.mark.parametrize("link", [_symbolic, _hard])
def test_weights_that_are_a_link_are_refused(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    path = _external(tmp_path)
    link(tmp_path / "weights.bin", tmp_path / "secret.bin")

    assert "is a link" in _refusal(path)


def test_weights_below_a_linked_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = _external(tmp_path / "model", "inner/weights.bin")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "weights.bin").write_bytes(bytes(100_000))
    (tmp_path / "model" / "inner").symlink_to(tmp_path / "elsewhere")

    assert "is a link" in _refusal(path)


@pytest.mark.parametrize(
    "entries", [{"offset": "999999999"}, {"length": "999999999"}, {"offset": "-1"}, {"length": "x"}]
)
def test_weights_outside_their_file_are_refused(tmp_path: Path, entries: dict[str, str]) -> None:
    message = _refusal(_external(tmp_path, **entries))

    assert "has no bytes" in message or "is no number" in message


def test_weights_hidden_in_a_subgraph_are_found(tmp_path: Path) -> None:
    hidden = TensorProto(name="hidden", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    hidden.external_data.add(key="location", value="/etc/passwd")
    branch = helper.make_graph(
        [helper.make_node("Identity", ["hidden"], ["z"])], "then", [], [builders.value("z", "FP32", (1,))], [hidden]
    )
    model = builders.build(
        [helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)],
        [builders.value("x", "BOOL", ())],
        [builders.value("y", "FP32", (1,))],
    )

    assert "'hidden' in '/etc/passwd', which leaves" in _refusal(_write(tmp_path, model))


def test_operators_of_other_domains_are_refused(tmp_path: Path) -> None:
    node = helper.make_node("Shell", ["x"], ["y"], domain="evil.ops")
    values = builders.value("x", "FP32", (-1, 2)), builders.value("y", "FP32", (-1, 2))
    model = builders.build([node], values[:1], values[1:], domains=["evil.ops"])

    assert "operator 'Shell' of domain 'evil.ops'" in _refusal(_write(tmp_path, model))


def test_operators_of_microsoft_are_accepted(tmp_path: Path) -> None:
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    values = builders.value("x", "FP32", (-1, 2)), builders.value("y", "FP32", (-1, 2))

    source = read_source(_write(tmp_path, builders.build([node], values[:1], values[1:], domains=["com.microsoft"])))

    assert source.self_contained


def _with_function(inner_domain: str) -> onnx.ModelProto:
    node = helper.make_node("Double", ["x"], ["y"], domain="own")
    values = builders.value("x", "FP32", (-1, 2)), builders.value("y", "FP32", (-1, 2))
    model = builders.build([node], values[:1], values[1:], domains=["own", *([inner_domain] if inner_domain else [])])
    body = helper.make_node("Add" if not inner_domain else "Shell", ["a", "a"], ["b"], domain=inner_domain)
    imports = [
        helper.make_opsetid("", builders.OPSET),
        *([helper.make_opsetid(inner_domain, 1)] if inner_domain else []),
    ]
    model.functions.append(helper.make_function("own", "Double", ["a"], ["b"], [body], imports))
    return model


def test_functions_of_the_model_take_the_place_of_their_calls(tmp_path: Path) -> None:
    source = read_source(_write(tmp_path, _with_function("")))

    assert [node.op_type for node in source.proto.graph.node] == ["Add"]
    assert not source.proto.functions
    assert not source.self_contained


def test_operators_inside_functions_are_checked_too(tmp_path: Path) -> None:
    assert "'Shell' of domain 'evil.ops'" in _refusal(_write(tmp_path, _with_function("evil.ops")))


def test_walk_finds_every_tensor() -> None:
    names = {tensor.name for tensor in walk(builders.mlp(), TensorProto)}

    assert names == {"w1", "b1", "w2", "b2"}
    assert np.prod(builders.mlp().graph.initializer[0].dims) == 1024
