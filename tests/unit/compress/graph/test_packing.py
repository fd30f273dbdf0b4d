"""What is packed answers the same bits, opens without optimising, and maps its weights where that
pays.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from onnxlift.compress.cpu.instructions import InstructionSet, available
from onnxlift.compress.cpu.process import run_on
from onnxlift.compress.graph.packing import MODEL_FILE, WEIGHTS_FILE, Packed, pack
from onnxlift.compress.steps import Context
from onnxlift.compress.steps.embeddings import Embeddings
from onnxlift.compress.steps.int8_static import Int8Static
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from onnxlift.compress.steps.smooth_quant import SmoothQuant
from tests.support import builders
from tests.support.compress.transformer import samples, transformer

TEXT = samples()
PIXELS = {"pixels": np.random.default_rng(1).normal(size=(40, 1, 8, 8)).astype(np.float32)}
ROWS = {"x": np.random.default_rng(2).normal(size=(40, 16)).astype(np.float32)}


def _int8_transformer() -> onnx.ModelProto:
    model = transformer()
    for step in (Embeddings(block=16, smallest_bytes=1024), SmoothQuant(), MatMulInt8()):
        model = step.apply(model, Context(TEXT))
    return model


def _static() -> onnx.ModelProto:
    return Int8Static(activation_type="int8").apply(builders.convolution(), Context(PIXELS))


def _large() -> onnx.ModelProto:
    """A MatMul of 4 MiB, stored as protobuf's own floats, and a small one."""
    weight = np.random.default_rng(3).normal(size=(1024, 1024)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "large"], ["wide"], name="large"),
        helper.make_node("Add", ["wide", "small"], ["y"], name="small"),
    ]
    model = builders.build(
        nodes,
        [builders.value("x", "FP32", (-1, 1024))],
        [builders.value("y", "FP32", (-1, 1024))],
        {"small": np.ones(1024, np.float32)},
    )
    model.graph.initializer.append(
        helper.make_tensor("large", onnx.TensorProto.FLOAT, weight.shape, weight.ravel())
    )
    return model


def _open(model: str | bytes, *, optimize: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _answer(packed: Packed, feed: dict[str, np.ndarray]) -> np.ndarray:
    output: np.ndarray = _open(str(packed.files[0]), optimize=packed.optimize_at_load).run(
        None, feed
    )[0]
    return output


@pytest.mark.parametrize(
    ("model", "feed"),
    [
        (builders.mlp(), ROWS),
        (builders.convolution(), PIXELS),
        (_static(), PIXELS),
        (transformer(), TEXT),
        (_int8_transformer(), TEXT),
        (_large(), {"x": np.random.default_rng(4).normal(size=(3, 1024)).astype(np.float32)}),
    ],
    ids=["mlp", "convolution", "static", "transformer", "int8", "large"],
)
def test_a_packed_model_answers_the_same_bits(
    model: onnx.ModelProto, feed: dict[str, np.ndarray], tmp_path: Path
) -> None:
    before = model.SerializeToString()

    packed = pack(model, tmp_path)

    expected = _open(before, optimize=True).run(None, feed)[0]
    np.testing.assert_array_equal(_answer(packed, feed), expected)
    assert model.SerializeToString() == before


def test_packing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        packed = pack(_large(), tmp_path / name)
        contents.append([file.read_bytes() for file in packed.files])

    assert contents[0] == contents[1]


def test_a_small_model_stays_one_file(tmp_path: Path) -> None:
    packed = pack(_int8_transformer(), tmp_path)

    assert packed.files == (tmp_path / MODEL_FILE,)
    assert [path.name for path in tmp_path.iterdir()] == [MODEL_FILE]


def test_large_weights_lie_beside_the_graph_and_small_ones_inside(tmp_path: Path) -> None:
    packed = pack(_large(), tmp_path)

    stored = onnx.load(packed.files[0], load_external_data=False).graph.initializer
    beside = {tensor.name: tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in stored}
    assert packed.files == (tmp_path / MODEL_FILE, tmp_path / WEIGHTS_FILE)
    assert beside == {"large": True, "small": False}
    assert (tmp_path / WEIGHTS_FILE).stat().st_size == 4 * 2**20
    loaded = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(packed.files[0]).graph.initializer
    }
    original = {tensor.name: numpy_helper.to_array(tensor) for tensor in _large().graph.initializer}
    np.testing.assert_array_equal(loaded["large"], original["large"])


def test_int8_projections_are_fused_ahead_and_no_slower_kernel_is_taken(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "x2"], ["sum"], name="residual"),
        helper.make_node("LayerNormalization", ["sum", "gamma", "beta"], ["y"], name="norm"),
    ]
    inputs = [builders.value(name, "FP32", (-1, 4, 16)) for name in ("x", "x2")]
    ones = {"gamma": np.ones(16, np.float32), "beta": np.ones(16, np.float32)}
    (tmp_path / "norm").mkdir()

    fused = pack(_int8_transformer(), tmp_path)
    norm = pack(
        builders.build(nodes, inputs, [builders.value("y", "FP32", (-1, 4, 16))], ones),
        tmp_path / "norm",
    )

    kinds = {node.op_type for node in onnx.load(fused.files[0]).graph.node}
    assert not fused.optimize_at_load
    assert {"MatMulIntegerToFloat", "DynamicQuantizeMatMul"} & kinds
    assert "MatMulInteger" not in kinds
    assert [node.op_type for node in onnx.load(norm.files[0]).graph.node] == [
        "Add",
        "LayerNormalization",
    ]


def test_convolutions_get_their_layout_where_they_are_served(tmp_path: Path) -> None:
    packed = pack(builders.convolution(), tmp_path)

    domains = {node.domain for node in onnx.load(packed.files[0]).graph.node}
    assert packed.optimize_at_load
    assert domains <= {"", "com.microsoft"}


@pytest.mark.parametrize(("architecture", "kind"), [("x86_64", np.uint8), ("arm64", np.int8)])
def test_activations_take_the_sign_that_the_target_multiplies_fastest(
    architecture: str, kind: type, tmp_path: Path
) -> None:
    packed = pack(_static(), tmp_path, architecture)

    model = onnx.load(packed.files[0])
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    zeros = [
        tensors[node.input[2]].dtype for node in model.graph.node if node.op_type == "QLinearConv"
    ]
    assert zeros == [kind, kind]


def test_a_graph_for_gpus_stays_as_it_is(tmp_path: Path) -> None:
    model = builders.mlp()

    packed = pack(model, tmp_path, "gpu")

    assert packed.optimize_at_load
    assert onnx.load(packed.files[0]) == model


@pytest.mark.skipif(
    not available(InstructionSet.AVX2), reason=available(InstructionSet.AVX2).reason
)
def test_what_this_cpu_packed_runs_on_avx2_alone(tmp_path: Path) -> None:
    packed = pack(_int8_transformer(), tmp_path)

    there = run_on(InstructionSet.AVX2, packed.files[0], [TEXT])[0]["vector"]

    np.testing.assert_allclose(there, _answer(packed, TEXT), rtol=1e-4, atol=1e-4)
