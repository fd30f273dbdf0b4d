"""Weights in blocks: every method near in proportion to its bits, compensation nearer, nothing else
changed.
"""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxlift.compress.steps import Context
from onnxlift.compress.steps.weight_blocks import Method, WeightBlocks
from onnxlift_runtime.errors import RecipeInvalid, SamplesInvalid
from tests.support import builders
from tests.support.compress.closeness import constants, cosine, run
from tests.support.compress.transformer import samples, transformer
from tests.support.errors import raises

RANDOM = np.random.default_rng(5)
ROWS = (RANDOM.normal(size=(300, 12)) @ RANDOM.normal(size=(12, 96))).astype(np.float32)


def _model() -> onnx.ModelProto:
    return builders.mlp(96, 64, 24)


@pytest.mark.parametrize("method", ["nearest", "k_quant", "hqq", "gptq"])
@pytest.mark.parametrize(
    ("bits", "symmetric", "least"), [(8, True, 0.9999), (4, True, 0.98), (4, False, 0.98)]
)
def test_every_method_stays_near(method: Method, bits: int, symmetric: bool, least: float) -> None:
    model = _model()
    before = model.SerializeToString()

    stored = WeightBlocks(bits, 32, symmetric, method).apply(model, Context({"x": ROWS}))

    assert model.SerializeToString() == before
    assert cosine(run(stored, {"x": ROWS}), run(model, {"x": ROWS})) > least


def test_two_bits_run() -> None:
    stored = WeightBlocks(2, 16, symmetric=False).apply(_model(), Context({"x": ROWS}))

    assert cosine(run(stored, {"x": ROWS}), run(_model(), {"x": ROWS})) > 0.8


def test_compensation_is_nearer_than_rounding_to_nearest() -> None:
    model = builders.linear(96, 64, bias=False)
    expected = run(model, {"x": ROWS})
    methods: tuple[Method, ...] = ("nearest", "k_quant", "gptq")

    lost = {
        method: 1
        - cosine(
            run(WeightBlocks(4, 32, True, method).apply(model, Context({"x": ROWS})), {"x": ROWS}),
            expected,
        )
        for method in methods
    }

    assert lost["gptq"] < 0.5 * lost["nearest"]
    assert lost["k_quant"] <= lost["nearest"]


def test_accuracy_level_and_sizes_stand_in_every_node() -> None:
    stored = WeightBlocks(4, 32).apply(transformer(), Context(samples()))

    nodes = [node for node in stored.graph.node if node.op_type == "MatMulNBits"]
    found = [{item.name: item.i for item in node.attribute} for node in nodes]
    assert len(nodes) == 6
    assert {item["accuracy_level"] for item in found} == {4}
    assert {(item["K"], item["N"]) for item in found} == {(32, 32), (32, 64), (64, 32)}


def test_only_and_exclude_choose_the_nodes() -> None:
    stored = WeightBlocks(
        8, 16, method="nearest", only=("wide", "narrow"), exclude=("narrow",)
    ).apply(transformer(), Context())

    assert set(constants(transformer())) - set(constants(stored)) == {"wide_w"}


def test_a_gemm_with_a_stored_transpose_keeps_its_bias() -> None:
    weight = np.random.default_rng(0).normal(size=(24, 96)).astype(np.float32)
    bias = np.full(24, 100, np.float32)
    node = onnx.helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="gemm", transB=1)
    model = builders.build(
        [node],
        [builders.value("x", "FP32", (-1, 96))],
        [builders.value("y", "FP32", (-1, 24))],
        {"w": weight, "b": bias},
    )

    stored = WeightBlocks(8, 32, method="nearest").apply(model, Context())

    np.testing.assert_allclose(run(stored, {"x": ROWS}), run(model, {"x": ROWS}), atol=1.5)


def test_the_file_shrinks_to_its_bits() -> None:
    model = builders.linear(512, 256, bias=False)

    stored = WeightBlocks(4, 128, method="nearest").apply(model, Context())

    parts = {tensor.name: numpy_helper.to_array(tensor) for tensor in stored.graph.initializer}
    assert parts["weight/uint4"].shape == (256, 4, 64)
    assert parts["weight/scale"].shape == (256, 4)


def test_nothing_to_store_is_refused() -> None:
    with raises(RecipeInvalid, "MatMul", "Gemm"):
        WeightBlocks(method="nearest", exclude=("matmul",)).apply(builders.linear(), Context())


def test_a_format_nobody_runs_is_refused_with_the_legal_ones() -> None:
    with raises(RecipeInvalid, "(16, 32, 64, 128, 256)"):
        WeightBlocks(block=48)


def test_compensation_without_samples_says_which_input_it_needs() -> None:
    with raises(SamplesInvalid, "'x'"):
        WeightBlocks().apply(_model(), Context())
