from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from onnxlift_runtime.dataplane.session import CPU, Device, Session, processor_count
from onnxlift_runtime.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    DatatypeMismatch,
    InputMismatch,
    MemoryExhausted,
)
from onnxlift_runtime.tensors.datatypes import DATATYPES, Datatype
from tests.support import builders
from tests.support.errors import raises
from tests.support.runtime import serving
from tests.support.runtime.strategies import object_array


def open_session(root: Path, model: Any, **changes: Any) -> Session:
    return open_on(CPU, root, model, **changes)


def open_on(device: Device, root: Path, model: Any, **changes: Any) -> Session:
    manifest = builders.write_artifact(root, model, **changes)
    return Session(
        root / manifest.name / manifest.version, manifest, threads=1, verify=True, device=device
    )


def sample(datatype: Datatype, shape: tuple[int, ...]) -> Any:
    if datatype.kind == "bytes":
        items = ["a\x00é".encode(), b"", b"\n"] * 4
        return object_array(items[: int(np.prod(shape))], shape)
    return np.arange(np.prod(shape)).reshape(shape).astype(datatype.numpy)


@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (1, 0), ()], ids=str)
@pytest.mark.parametrize("datatype", DATATYPES, ids=lambda datatype: datatype.name)
def test_every_datatype_and_shape_goes_through_a_graph(
    datatype: Datatype, shape: tuple[int, ...], tmp_path: Path
) -> None:
    session = open_session(tmp_path, builders.identity(datatype.name, [-1] * len(shape)))
    array = sample(datatype, shape)

    result = session.run({"x": array}, ["y"])["y"]

    assert (result.shape, result.dtype) == (array.shape, array.dtype)
    assert result.tolist() == array.tolist()


def test_bfloat16_is_computed_and_not_only_copied(tmp_path: Path) -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=1)
    model = builders.build(
        [node], [builders.value("x", "BF16", (-1,))], [builders.value("y", "FP32", (-1,))]
    )

    result = open_session(tmp_path, model).run({"x": np.array([0x3F80, 0xC000], np.uint16)}, ["y"])[
        "y"
    ]

    assert result.tolist() == [1.0, -2.0]


def test_half_precision_is_computed(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["x", "x"], ["y"])
    model = builders.build(
        [node], [builders.value("x", "FP16", (-1,))], [builders.value("y", "FP16", (-1,))]
    )

    result = open_session(tmp_path, model).run({"x": np.array([1.5, -0.25], np.float16)}, ["y"])[
        "y"
    ]

    assert result.dtype == np.float16
    assert result.tolist() == [3.0, -0.5]


def test_text_goes_in_beside_bfloat16(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["n"], ["f"], to=1),
        helper.make_node("Identity", ["t"], ["u"]),
    ]
    inputs = [builders.value("n", "BF16", (-1,)), builders.value("t", "BYTES", (-1,))]
    model = builders.build(
        nodes, inputs, [builders.value("f", "FP32", (-1,)), builders.value("u", "BYTES", (-1,))]
    )

    feeds = {"n": np.array([0x3F80], np.uint16), "t": object_array([b"a\x00b"], (1,))}
    result = open_session(tmp_path, model).run(feeds, ["u", "f"])

    assert (result["u"].tolist(), result["f"].tolist()) == ([b"a\x00b"], [1.0])


def test_bytes_that_are_no_utf8_are_the_callers_error(tmp_path: Path) -> None:
    session = open_session(tmp_path, builders.identity("BYTES", (-1,)))

    with raises(DatatypeMismatch, "'x'", "UTF-8"):
        session.run({"x": object_array([b"\xff"], (1,))}, ["y"])


def test_an_index_out_of_range_is_the_callers_error(tmp_path: Path) -> None:
    session = open_session(tmp_path, serving.gather())

    with raises(InputMismatch, "'tiny'", "idx=7"):
        session.run({"x": np.array([7])}, ["y"])


def test_dimensions_that_do_not_go_together_are_the_callers_error(tmp_path: Path) -> None:
    session = open_session(tmp_path, builders.failing())

    with raises(InputMismatch, "'tiny'", "Reshape"):
        session.run({"x": np.zeros((1, 5), np.float32)}, ["y"])


def test_memory_that_runs_out_is_not_the_callers_error(tmp_path: Path) -> None:
    node = helper.make_node("Expand", ["x", "size"], ["y"])
    model = builders.build(
        [node],
        [builders.value("x", "FP32", (-1,)), builders.value("size", "INT64", (1,))],
        [builders.value("y", "FP32", (-1,))],
    )
    session = open_session(tmp_path, model)

    with raises(MemoryExhausted, "'tiny'", "Failed to allocate memory"):
        session.run({"x": np.zeros(1, np.float32), "size": np.array([2**50])}, ["y"])


def test_an_option_of_the_manifest_reaches_onnxruntime(tmp_path: Path) -> None:
    options = {"session.set_denormal_as_zero": "1"}
    tiny = np.array([[1e-40, 1.0]], np.float32)

    session = open_session(
        tmp_path, builders.linear(2, 2), session_options=options, optimize_at_load=False
    )

    assert session.run({"x": tiny}, ["y"])["y"].shape == (1, 2)


def test_a_changed_file_is_corrupt(tmp_path: Path) -> None:
    manifest = builders.write_artifact(tmp_path, builders.linear())
    folder = tmp_path / "tiny" / "1"
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx").write_bytes(content)

    with raises(ArtifactCorrupt, "model.onnx", "compressed"):
        Session(folder, manifest, threads=1, verify=True)


def test_a_file_that_is_no_model_is_corrupt(tmp_path: Path) -> None:
    manifest = builders.write_artifact(tmp_path, builders.linear())
    (tmp_path / "tiny" / "1" / "model.onnx").write_bytes(b"no model")

    with raises(ArtifactCorrupt, "model.onnx", "opened"):
        Session(tmp_path / "tiny" / "1", manifest, threads=1, verify=False)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    manifest = builders.write_artifact(tmp_path, builders.linear())
    (tmp_path / "tiny" / "1" / "model.onnx").unlink()

    with raises(ArtifactMissing, "model.onnx"):
        Session(tmp_path / "tiny" / "1", manifest, threads=1, verify=True)


@pytest.mark.parametrize("spec", [("other", "FP32", (-1, 4)), ("x", "FP64", (-1, 4))])
def test_the_manifest_of_another_model_is_corrupt(spec: Any, tmp_path: Path) -> None:
    with raises(ArtifactCorrupt, "manifest"):
        open_session(tmp_path, builders.linear(), inputs=[builders.spec(*spec)])


def test_there_is_at_least_one_processor() -> None:
    assert processor_count() >= 1
