"""Inputs are made from the signature and the graph's own constants, always the same."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxlift.compress.model.batch import Batch
from onnxlift.compress.model.generating import COUNT, generate_samples
from onnxlift.compress.model.samples import Samples
from onnxlift.compress.model.signature import open_session, read_signature
from onnxlift.compress.model.values import Ranges, make_values
from onnxlift_runtime.errors import SamplesInvalid
from tests.support import builders
from tests.support.errors import raises


def _generated(folder: Path, model: onnx.ModelProto, **axes: int) -> Samples:
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return generate_samples(open_session(path), model, read_signature(path), Batch(axes))


def _lookup(rows: int) -> onnx.ModelProto:
    """Looks rows of a table up, masks them, and adds a picture."""
    nodes = [
        helper.make_node("Cast", ["ids"], ["indices"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["table", "indices"], ["found"]),
        helper.make_node("Cast", ["ids_mask"], ["kept"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["found", "kept"], ["masked"]),
        helper.make_node("Add", ["masked", "image"], ["y"]),
    ]
    inputs = [
        builders.value("ids", "INT32", (-1, 8)),
        builders.value("ids_mask", "INT64", (-1, 8)),
        builders.value("image", "FP32", (-1, 8)),
    ]
    table = {"table": np.arange(rows, dtype=np.float32)}
    return builders.build(nodes, inputs, [builders.value("y", "FP32", (-1, 8))], table)


def test_values_fit_the_names_and_the_tables_of_the_graph(tmp_path: Path) -> None:
    samples = _generated(tmp_path, _lookup(1000), ids=0, ids_mask=0, image=0)

    ids, mask, image = (np.asarray(samples.arrays[name]) for name in ("ids", "ids_mask", "image"))
    assert len(samples) == COUNT
    assert ids.dtype == np.int32
    assert 500 < ids.max() < 1000
    assert ids.min() >= 0
    assert (mask == 1).all()
    assert 0 <= image.min() < 0.1 < 0.9 < image.max() < 1


def test_the_same_model_gets_the_same_samples(tmp_path: Path) -> None:
    first = _generated(tmp_path, _lookup(50), ids=0, ids_mask=0, image=0)
    second = _generated(tmp_path, _lookup(50), ids=0, ids_mask=0, image=0)

    assert first.digests() == second.digests()
    assert len(set(first.digests())) == COUNT


def test_a_number_that_the_graph_compares_with_is_taken(tmp_path: Path) -> None:
    """As of a sampling rate: all rows of a run share it, and only that of the graph is right."""
    nodes = [
        helper.make_node("Equal", ["sr", "known"], ["right"]),
        helper.make_node("Where", ["right", "x", "zero"], ["y"]),
    ]
    inputs = [builders.value("x", "FP32", (-1, 4)), builders.value("sr", "INT64", ())]
    constants = {"known": np.array(16_000), "zero": np.zeros((), np.float32)}
    model = builders.build(nodes, inputs, [builders.value("y", "FP32", (-1, 4))], constants)

    samples = _generated(tmp_path, model, x=0, y=0)

    assert {int(value) for value in samples.arrays["sr"]} == {16_000}


@pytest.mark.parametrize(
    "other",
    [np.array(["a", "b"], object), np.array([], np.int64), np.array([1, 2]), np.array(2.5)],
)
def test_what_is_no_single_number_says_nothing(other: np.ndarray) -> None:
    node = helper.make_node("Equal", ["x", "other"], ["y"])
    table = helper.make_node("Gather", ["empty", "x"], ["z"])
    constants = {"other": other, "empty": np.empty((0, 4), np.float32)}
    model = builders.build([node, table], [builders.value("x", "INT64", (-1,))], [], constants)

    assert Ranges.of(model) == Ranges()


def test_constants_may_be_nodes_and_small_integers_stay_in_their_range() -> None:
    known = numpy_helper.from_array(np.array(8000), "k")
    table = numpy_helper.from_array(np.empty((1000, 1), np.float32), "t")
    nodes = [
        helper.make_node("Constant", [], ["known"], value=known),
        helper.make_node("Constant", [], ["table"], value=table),
        helper.make_node("Equal", ["known", "sr"], ["right"]),
        helper.make_node("Gather", ["table", "ids"], ["found"]),
    ]
    inputs = [builders.value("sr", "INT64", ()), builders.value("ids", "INT8", (-1,))]

    ranges = Ranges.of(builders.build(nodes, inputs, []))

    assert ranges == Ranges({"ids": 1000}, {"sr": 8000})
    ids = make_values(builders.spec("ids", "INT8", (-1,)), (500,), ranges, np.random.default_rng(1))
    assert 100 < ids.max() <= 127
    assert ids.min() >= 0


@pytest.mark.parametrize("size", [3, 128])
def test_sizes_are_tried_until_one_runs(tmp_path: Path, size: int) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    inputs, outputs = (
        [builders.value("x", "FP32", (-1, -1))],
        [builders.value("y", "FP32", (-1, size))],
    )
    model = builders.build(nodes, inputs, outputs, {"shape": np.array([1, size])})

    samples = _generated(tmp_path, model, x=0, y=0)

    assert np.asarray(samples.arrays["x"]).shape == (COUNT, size)


def test_what_no_input_fits_says_to_name_samples(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    inputs, outputs = (
        [builders.value("x", "FP32", (-1, -1))],
        [builders.value("y", "FP32", (-1, 5))],
    )
    model = builders.build(nodes, inputs, outputs, {"shape": np.array([1, 7919])})

    with raises(SamplesInvalid, "quality.samples"):
        _generated(tmp_path, model, x=0, y=0)


def test_text_is_made_too(tmp_path: Path) -> None:
    samples = _generated(tmp_path, builders.identity("BYTES", (-1, 1)), x=0, y=0)

    assert len(set(samples.digests())) > 1
