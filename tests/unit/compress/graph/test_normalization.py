"""The form that recipes start from: the same answers, dense float32 initializers, the same
signature.
"""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxlift.compress.graph.normalization import normalize
from onnxlift.compress.graph.storage import graphs
from tests.support import builders
from tests.support.compress.closeness import run
from tests.support.compress.operators import (
    branches,
    conv,
    declared_weights,
    in_floats,
    lstm,
    matmul,
)

RANDOM = np.random.default_rng(4)
X = RANDOM.normal(size=(2, 32)).astype(np.float32)
WEIGHT = RANDOM.normal(size=(32, 32)).astype(np.float32)


def _tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    return [tensor for graph in graphs(model.graph) for tensor in graph.initializer]


def _float_data() -> onnx.ModelProto:
    model = matmul()
    tensor = helper.make_tensor("w", TensorProto.FLOAT, WEIGHT.shape, WEIGHT.ravel())
    model.graph.initializer[0].CopyFrom(tensor)
    return model


def _sparse(places: np.ndarray) -> onnx.ModelProto:
    model = matmul()
    del model.graph.initializer[:]
    values = numpy_helper.from_array(np.array([1, 2, 3], np.float32), "w")
    indices = numpy_helper.from_array(places, "places")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [32, 32]))
    return model


def _sparse_constant() -> onnx.ModelProto:
    model = _sparse(np.array([0, 33, 1_023]))
    held = model.graph.sparse_initializer[0]
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], sparse_value=held))
    del model.graph.sparse_initializer[:]
    return model


def _numbers() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Constant", [], ["steps"], value_floats=[1.0, 2.0]),
        helper.make_node("Constant", [], ["size"], value_ints=[2, 1]),
        helper.make_node("Mul", ["x", "half"], ["scaled"]),
        helper.make_node("Reshape", ["steps", "size"], ["column"]),
        helper.make_node("Add", ["scaled", "column"], ["y"]),
    ]
    given, made = [builders.value("x", "FP32", (2, 32))], [builders.value("y", "FP32", (2, 32))]
    return builders.build(nodes, given, made)


@pytest.mark.parametrize(
    "build",
    [
        _float_data,
        lambda: _sparse(np.array([0, 33, 1_023])),
        lambda: _sparse(np.array([[0, 0], [1, 1], [31, 31]])),
        _sparse_constant,
        declared_weights,
        _numbers,
    ],
    ids=["numbers one by one", "sparse", "coordinates", "sparse constant", "inputs", "constants"],
)
def test_every_kind_of_constant_becomes_a_dense_tensor(
    build: Callable[[], onnx.ModelProto],
) -> None:
    model = build()
    before = model.SerializeToString()
    shape = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim]
    feed = {"x": RANDOM.normal(size=shape).astype(np.float32)}

    plain = normalize(model)

    assert model.SerializeToString() == before
    assert [item.name for item in plain.graph.input] == ["x"]
    assert not plain.graph.sparse_initializer
    assert all(tensor.raw_data for tensor in _tensors(plain))
    assert all(
        node.attribute[0].name == "value" for node in plain.graph.node if node.op_type == "Constant"
    )
    np.testing.assert_array_equal(run(plain, feed), run(model, feed))


@pytest.mark.parametrize("build", [matmul, branches, lstm])
def test_a_plain_model_stays_itself(build: Callable[[], onnx.ModelProto]) -> None:
    model = build()

    assert normalize(model) is model


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (matmul, TensorProto.FLOAT16),
        (branches, TensorProto.FLOAT16),
        (conv, TensorProto.FLOAT16),
        (matmul, TensorProto.DOUBLE),
        (branches, TensorProto.DOUBLE),
    ],
)
def test_other_floats_become_float32_behind_the_same_signature(
    build: Callable[[], onnx.ModelProto], kind: int
) -> None:
    model = in_floats(build(), kind)
    item = model.graph.input[0]
    shape = [size.dim_value for size in item.type.tensor_type.shape.dim]
    feed = {item.name: RANDOM.normal(size=shape).astype(helper.tensor_dtype_to_np_dtype(kind))}

    plain = normalize(model)

    onnx.checker.check_model(plain, full_check=True)
    assert plain.graph.input[0] == model.graph.input[0]
    assert plain.graph.output[0].name == model.graph.output[0].name
    assert {tensor.data_type for tensor in _tensors(plain)} <= {TensorProto.FLOAT}
    np.testing.assert_allclose(run(plain, feed), run(model, feed), rtol=2e-2, atol=2e-3)


def test_bfloat16_weights_become_float32() -> None:
    """onnxruntime casts bfloat16 and multiplies it on no CPU."""
    model = matmul()
    weight = WEIGHT.astype(helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "bf16"))
    model.graph.node.insert(0, helper.make_node("Cast", ["bf16"], ["w"], to=TensorProto.FLOAT))

    plain = normalize(model)

    assert [tensor.data_type for tensor in plain.graph.initializer] == [TensorProto.FLOAT]
    np.testing.assert_array_equal(run(plain, {"x": X}), run(model, {"x": X}))


def test_single_constants_of_float64_in_a_float32_model_stay() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["long"], to=TensorProto.DOUBLE),
        helper.make_node("Mul", ["long", "tiny"], ["small"]),
        helper.make_node("Cast", ["small"], ["short"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["short", "w"], ["y"]),
    ]
    given, made = [builders.value("x", "FP32", (2, 32))], [builders.value("y", "FP32", (2, 32))]
    model = builders.build(nodes, given, made, {"w": WEIGHT, "tiny": np.array(1e-9)})

    assert normalize(model) is model


def test_a_value_that_other_nodes_read_may_be_an_output_too() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["y"]),
    ]
    given = [builders.value("x", "FP16", (2, 32))]
    made = [builders.value(name, "FP16", (2, 32)) for name in ("hidden", "y")]
    model = builders.build(nodes, given, made, {"w": WEIGHT.astype(np.float16)})
    feed = {"x": X.astype(np.float16)}

    plain = ort.InferenceSession(normalize(model).SerializeToString())

    expected = ort.InferenceSession(model.SerializeToString()).run(None, feed)
    for found, wanted in zip(plain.run(None, feed), expected, strict=True):
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, wanted, rtol=2e-2, atol=2e-2)


def test_a_model_that_exists_in_other_floats_alone_stays() -> None:
    """A custom datatype of an operator: nothing opens, so nothing changes."""
    model = in_floats(matmul(), TensorProto.FLOAT16)
    model.graph.node[0].domain = "com.microsoft"

    assert normalize(model) is model
