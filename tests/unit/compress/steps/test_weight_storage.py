"""Weights stored in 8 or 16 bits: smaller files, near answers, and a session of float32."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxlift.compress.graph.packing import Packed, pack
from onnxlift.compress.graph.storage import expands_at_load, graphs, to_int8
from onnxlift.compress.model.inventory import layer_sizes, weights
from onnxlift.compress.steps import Context
from onnxlift.compress.steps.clean import Clean
from onnxlift.compress.steps.weight_storage import WeightStorage
from onnxlift_runtime.errors import RecipeInvalid
from tests.support import builders
from tests.support.compress.closeness import cosine, run
from tests.support.compress.operators import BODIES, OPERATORS, branches, matmul
from tests.support.errors import raises

Datatype = Literal["int8", "float16"]


def _feed(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    random, item = np.random.default_rng(7), model.graph.input[0]
    shape = [size.dim_value for size in item.type.tensor_type.shape.dim]
    if item.type.tensor_type.elem_type == TensorProto.INT64:
        return {item.name: random.integers(0, 64, shape)}
    return {item.name: random.normal(size=shape).astype(np.float32)}


def _weight_bytes(model: onnx.ModelProto) -> int:
    return sum(weight.size_bytes for weight in weights(model) if len(weight.tensor.dims) > 1)


def _opened(packed: Packed, folder: Path) -> onnx.ModelProto:
    """The graph that a session of the packed model runs."""
    assert packed.optimize_at_load
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "opened.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(packed.files[0]), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "opened.onnx")


@pytest.mark.parametrize(("datatype", "share"), [("int8", 0.31), ("float16", 0.5)])
@pytest.mark.parametrize("build", [*OPERATORS, *BODIES], ids=lambda build: build.__name__)
def test_stored_weights_are_small_and_are_float32_once_opened(
    build: Callable[[], onnx.ModelProto], datatype: Datatype, share: float, tmp_path: Path
) -> None:
    model = build()
    before = model.SerializeToString()

    stored = WeightStorage(datatype).apply(model, Context())
    packed = pack(stored, tmp_path)

    assert model.SerializeToString() == before
    assert _weight_bytes(stored) <= share * _weight_bytes(model)
    assert cosine(run(stored, _feed(model)), run(model, _feed(model))) > 0.9998
    opened = [node for graph in graphs(_opened(packed, tmp_path).graph) for node in graph.node]
    assert not [node.op_type for node in opened if node.op_type in ("Cast", "Mul", "Reshape")]
    onnx.checker.check_model(onnx.load(packed.files[0]), full_check=True)


def test_a_weight_behind_moves_is_stored_once(tmp_path: Path) -> None:
    table = np.random.default_rng(1).normal(size=(64, 32)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["rows"]),
        helper.make_node("Transpose", ["table"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["rows", "turned"], ["y"]),
    ]
    given, made = [builders.value("x", "INT64", (5,))], [builders.value("y", "FP32", (5, 64))]
    model = builders.build(nodes, given, made, {"table": table})

    stored = WeightStorage().apply(Clean(may_grow=False).apply(model, Context()), Context())

    assert _weight_bytes(stored) < 0.3 * table.nbytes
    assert _weight_bytes(Clean().apply(model, Context())) == 2 * table.nbytes
    assert cosine(run(stored, _feed(model)), run(model, _feed(model))) > 0.9998


def test_what_no_operator_reads_as_a_weight_stays() -> None:
    anchors = np.random.default_rng(1).normal(size=(64, 32)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["moved"]),
        helper.make_node("Add", ["moved", "anchors"], ["y"]),
    ]
    given, made = [builders.value("x", "FP32", (64, 32))], [builders.value("y", "FP32", (64, 32))]
    constants = {"w": anchors[:32], "anchors": anchors}

    stored = WeightStorage().apply(builders.build(nodes, given, made, constants), Context())

    kept = {tensor.name: tensor.data_type for tensor in stored.graph.initializer}
    assert kept["anchors"] == TensorProto.FLOAT
    assert kept["w/int8"] == TensorProto.INT8


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_weights_beyond_float16_stay(value: float) -> None:
    model = matmul()
    weight = np.ones((32, 32), np.float32)
    weight[0, 0] = value
    model.graph.initializer[0].raw_data = weight.tobytes()

    assert not WeightStorage().suits(model)


def test_notes_of_the_exporter_are_dropped() -> None:
    model = branches()
    inner = model.graph.node[-1].attribute[0].g.node[0]
    for node in (model.graph.node[0], inner):
        node.doc_string = "made in " + "x" * 2_000
        node.metadata_props.add(key="trace", value="y" * 2_000)

    stored = WeightStorage().apply(model, Context())

    assert b"xxxx" not in stored.SerializeToString()
    assert b"yyyy" not in stored.SerializeToString()


@pytest.mark.parametrize(
    ("weight", "scales"),
    [
        (np.outer(np.ones(64), 10.0 ** np.arange(-8, 8)), (1, 16)),
        (np.outer(10.0 ** np.arange(-8, 8), np.ones(64)), (16, 1)),
        (np.multiply.outer(10.0 ** np.arange(-4, 4).reshape(2, 4), np.ones(32)), (2, 4, 1)),
        (np.zeros((16, 16)), (16, 1)),
    ],
    ids=["columns", "rows", "rows of a stack", "zeros"],
)
def test_scales_lie_where_the_channels_are(weight: np.ndarray, scales: tuple[int, ...]) -> None:
    whole, scale = to_int8(weight.astype(np.float32))

    assert (whole.dtype.name, scale.dtype.name, scale.shape) == ("int8", "float32", scales)
    restored = (whole * scale.astype(np.float32)).reshape(weight.shape)
    np.testing.assert_allclose(restored, weight, rtol=1e-2)


def test_large_values_cost_only_their_block() -> None:
    model = matmul()
    weight = np.random.default_rng(2).normal(size=(32, 256)).astype(np.float32)
    weight.reshape(32, 4, 64)[np.arange(32), np.arange(32) % 4] *= 20
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))

    whole, scale = to_int8(weight)
    stored = WeightStorage().apply(model, Context())

    assert (whole.shape, scale.shape, scale.dtype.name) == ((256, 32), (256, 1), "float16")
    assert "Reshape" in [node.op_type for node in stored.graph.node]
    assert _weight_bytes(stored) < 0.28 * weight.nbytes
    assert cosine(run(stored, _feed(model)), run(model, _feed(model))) > 0.9998


def test_the_smallest_weights_are_float16() -> None:
    weights = {
        "large": np.random.default_rng(1).normal(size=(256, 256)).astype(np.float32),
        "small": np.random.default_rng(2).normal(size=(256, 4)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "large"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "small"], ["y"]),
    ]
    given, made = [builders.value("x", "FP32", (1, 256))], [builders.value("y", "FP32", (1, 4))]

    stored = WeightStorage().apply(builders.build(nodes, given, made, weights), Context())

    kinds = {tensor.name: tensor.data_type for tensor in stored.graph.initializer}
    assert kinds["large/int8"] == TensorProto.INT8
    assert kinds["small/float16"] == TensorProto.FLOAT16


def test_stored_bytes_count_for_the_operator_that_computes_with_them() -> None:
    model = branches()

    sizes = layer_sizes(model, WeightStorage().apply(model, Context()))

    products = [item for item in sizes if item.operator == "MatMul"]
    assert {item.operator for item in sizes} <= {"MatMul", "Greater"}
    assert [item.after_bytes < 0.3 * item.before_bytes for item in products] == [True, True]


def test_a_model_without_weights_is_refused() -> None:
    with raises(RecipeInvalid, "256"):
        WeightStorage().apply(builders.identity(), Context())


def test_an_unknown_datatype_is_refused() -> None:
    with raises(RecipeInvalid, "int8", "float16", "'int4'"):
        WeightStorage("int4")  # type: ignore[arg-type]


def test_only_what_is_stored_expands_at_load() -> None:
    assert not expands_at_load(branches())
    assert expands_at_load(WeightStorage("float16").apply(branches(), Context()))
