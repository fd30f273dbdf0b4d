"""Model files that are broken, foreign or hostile are refused with one line."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from onnxlift.compress.inspect.inspection import inspect
from onnxlift.compress.model.reading import opset, read_source, walk
from onnxlift_runtime.errors import ModelRefused
from tests.support import builders
from tests.support.compress.files import refusal, write


def test_a_plain_model_is_read_with_digest_and_size(tmp_path: Path) -> None:
    path = write(tmp_path, builders.mlp())

    source = read_source(path)

    assert source.proto == builders.mlp()
    assert source.self_contained
    assert (source.size_bytes, len(source.sha256)) == (path.stat().st_size, 64)
    assert opset(source.proto) == builders.OPSET


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 torch", "a zip archive"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"\x80\x04\x95", "a Python pickle"),
        (b"\x20\0\0\0TFL3", "a TensorFlow Lite model"),
        (b"\x20\0\0\0ORTM", "ORT format"),
        (b"GGUF\x03", "GGUF format"),
        (b"\x10\0\0\0\0\0\0\0{}", "is not an ONNX model"),
        (b'\x10\0\0\0\0\0\0\0{"w": {}}', "a safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "a page or an XML file"),
        (b"\x1f\x8b\x08", "compressed with gzip"),
        (b"hello, I am text", "is not an ONNX model"),
        (bytes(64), "is not an ONNX model"),
        (builders.mlp().SerializeToString()[:-200], "is not an ONNX model"),
        (onnx.ModelProto(ir_version=10).SerializeToString(), "holds no graph"),
    ],
)
def test_a_foreign_or_broken_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    assert words in refusal(path)


@given(st.integers(0, len(builders.linear().SerializeToString()) - 1))
def test_a_model_cut_off_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "model.onnx"
    path.write_bytes(builders.linear().SerializeToString()[:length])

    assert str(path) in refusal(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nowhere.onnx")
    assert "Is a directory" in refusal(tmp_path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")

    assert "is a device or a pipe" in refusal(tmp_path / "model.onnx")


def test_a_file_larger_than_protobuf_allows_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(onnx.checker.MAXIMUM_PROTOBUF + 1)  # holds no bytes on disk

    assert "larger than the 2 GB" in refusal(path)


@pytest.mark.parametrize("name", ["matmul", "weight", "batch"])
def test_a_name_that_is_no_text_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.onnx"
    content = builders.linear().SerializeToString()
    assert name.encode() in content

    path.write_bytes(content.replace(name.encode(), b"\xff" + name.encode()[1:]))

    assert "is not UTF-8 text" in refusal(path)


def _field(number: int, content: bytes) -> bytes:
    """A protobuf field that holds ``content``: its key, its length in seven-bit pieces, itself."""
    pieces = []
    length = len(content)
    while length > 127:
        pieces.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2, *pieces, length]) + content


def test_a_graph_that_nests_too_deep_is_refused(tmp_path: Path) -> None:
    graph = b""
    for _ in range(5_000):
        graph = _field(
            1, _field(5, _field(6, graph))
        )  # GraphProto.node, NodeProto.attribute, AttributeProto.g
    path = tmp_path / "model.onnx"

    path.write_bytes(_field(7, graph) + _field(8, b""))  # ModelProto.graph and opset_import

    assert "is not an ONNX model" in refusal(path)


def test_an_invalid_graph_is_refused(tmp_path: Path) -> None:
    model = builders.linear()
    model.graph.node[0].input[0] = "nobody"

    assert "is not a valid model" in refusal(write(tmp_path, model))


@given(data=st.data())
def test_a_model_with_any_byte_changed_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(builders.mlp(4, 4, 2).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("changed") / "model.onnx"
    path.write_bytes(content)

    told = ""
    try:
        inspect(path)
        read_source(path)
    except ModelRefused as error:
        told = str(error)

    assert len(told.splitlines()) <= 1


def test_weights_hidden_in_a_subgraph_are_found(tmp_path: Path) -> None:
    hidden = TensorProto(
        name="hidden", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL
    )
    hidden.external_data.add(key="location", value="/etc/passwd")
    branch = helper.make_graph(
        [helper.make_node("Identity", ["hidden"], ["z"])],
        "then",
        [],
        [builders.value("z", "FP32", (1,))],
        [hidden],
    )
    model = builders.build(
        [helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)],
        [builders.value("x", "BOOL", ())],
        [builders.value("y", "FP32", (1,))],
    )

    assert "'hidden' in '/etc/passwd', which leaves" in refusal(write(tmp_path, model))


def test_operators_of_other_domains_are_refused(tmp_path: Path) -> None:
    node = helper.make_node("Shell", ["x"], ["y"], domain="evil.ops")
    values = builders.value("x", "FP32", (-1, 2)), builders.value("y", "FP32", (-1, 2))
    model = builders.build([node], values[:1], values[1:], domains=["evil.ops"])

    assert "operator 'Shell' of domain 'evil.ops'" in refusal(write(tmp_path, model))


def test_operators_of_microsoft_are_accepted(tmp_path: Path) -> None:
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    values = builders.value("x", "FP32", (-1, 2)), builders.value("y", "FP32", (-1, 2))

    source = read_source(
        write(tmp_path, builders.build([node], values[:1], values[1:], domains=["com.microsoft"]))
    )

    assert source.self_contained


def _with_function(inner_domain: str) -> onnx.ModelProto:
    node = helper.make_node("Double", ["x"], ["y"], domain="own")
    values = builders.value("x", "FP32", (-1, 2)), builders.value("y", "FP32", (-1, 2))
    model = builders.build(
        [node], values[:1], values[1:], domains=["own", *([inner_domain] if inner_domain else [])]
    )
    body = helper.make_node(
        "Add" if not inner_domain else "Shell", ["a", "a"], ["b"], domain=inner_domain
    )
    imports = [
        helper.make_opsetid("", builders.OPSET),
        *([helper.make_opsetid(inner_domain, 1)] if inner_domain else []),
    ]
    model.functions.append(helper.make_function("own", "Double", ["a"], ["b"], [body], imports))
    return model


def test_functions_of_the_model_take_the_place_of_their_calls(tmp_path: Path) -> None:
    source = read_source(write(tmp_path, _with_function("")))

    assert [node.op_type for node in source.proto.graph.node] == ["Add"]
    assert not source.proto.functions
    assert not source.self_contained


def test_operators_inside_functions_are_checked_too(tmp_path: Path) -> None:
    assert "'Shell' of domain 'evil.ops'" in refusal(write(tmp_path, _with_function("evil.ops")))


def test_walk_finds_every_tensor() -> None:
    names = {tensor.name for tensor in walk(builders.mlp(), TensorProto)}

    assert names == {"w1", "b1", "w2", "b2"}
    assert np.prod(builders.mlp().graph.initializer[0].dims) == 1024
