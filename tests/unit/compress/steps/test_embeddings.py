"""Embedding tables: rows come back near, nothing else changes, and the file shrinks as promised."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxlift.compress.steps import Context
from onnxlift.compress.steps.embeddings import Embeddings
from onnxlift_runtime.errors import RecipeInvalid
from tests.support import builders
from tests.support.compress.closeness import constants, cosine, run
from tests.support.compress.transformer import samples, transformer
from tests.support.errors import raises


def _lookup(columns: int = 128, rows: int = 500, kind: type = np.float32) -> onnx.ModelProto:
    table: np.ndarray = np.random.default_rng(0).normal(size=(rows, columns)).astype(kind)
    node = helper.make_node("Gather", ["table", "indices"], ["rows"], name="lookup")
    outputs = [builders.value("rows", "FP32" if kind is np.float32 else "FP16", (-1, -1, columns))]
    return builders.build(
        [node], [builders.value("indices", "INT64", (-1, -1))], outputs, {"table": table}
    )


INDICES = {"indices": np.random.default_rng(1).integers(0, 500, (3, 7))}


@pytest.mark.parametrize(
    ("bits", "symmetric", "least"),
    [(8, True, 0.9999), (8, False, 0.9999), (4, True, 0.99), (4, False, 0.99), (2, False, 0.8)],
)
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_looked_up_rows_are_near_in_every_format(
    bits: int, symmetric: bool, least: float, kind: type
) -> None:
    model = _lookup(kind=kind)

    packed = Embeddings(bits, 32, symmetric).apply(model, Context())

    found, expected = run(packed, INDICES), run(model, INDICES)
    assert found.dtype == expected.dtype
    assert cosine(found.astype(np.float32), expected.astype(np.float32)) > least
    table = 500 * 128 * bits // 8
    assert table < packed.ByteSize() < 1.2 * table + 10_000


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_kernel_restores_what_the_format_says(bits: int, symmetric: bool) -> None:
    from onnxlift.compress.quantization.blocks import Grid, quantize

    model = _lookup()
    table = numpy_helper.to_array(model.graph.initializer[0])

    packed = Embeddings(bits, 64, symmetric).apply(model, Context())

    expected = quantize(table, Grid(bits, 64, symmetric, np.float16)).restore()[INDICES["indices"]]
    np.testing.assert_allclose(run(packed, INDICES), expected, rtol=2e-3, atol=1e-6)


def test_only_the_table_changes() -> None:
    model = transformer()
    before = model.SerializeToString()

    packed = Embeddings(8, 32).apply(model, Context())

    assert model.SerializeToString() == before
    gone = set(constants(model)) - set(constants(packed))
    assert gone == {"words"}
    assert all(
        constants(packed)[name] == data
        for name, data in constants(model).items()
        if name != "words"
    )
    assert cosine(run(packed, samples()), run(model, samples())) > 0.999


def test_two_lookups_in_one_table_store_it_once() -> None:
    table = np.random.default_rng(0).normal(size=(600, 32)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", name], [f"{name}_rows"], name=name)
        for name in ("a", "b")
    ]
    inputs = [builders.value(name, "INT64", (-1,)) for name in ("a", "b")]
    outputs = [builders.value(f"{name}_rows", "FP32", (-1, 32)) for name in ("a", "b")]
    model = builders.build(nodes, inputs, outputs, {"table": table})

    packed = Embeddings().apply(model, Context())

    assert sorted(constants(packed)) == ["table/scale", "table/uint8"]


def test_a_narrow_table_takes_the_largest_block_that_fits() -> None:
    packed = Embeddings(8, 128).apply(_lookup(columns=48), Context())

    (node,) = (node for node in packed.graph.node if node.op_type == "GatherBlockQuantized")
    assert {item.name: item.i for item in node.attribute}["block_size"] == 16


def test_tables_that_are_excluded_or_small_stay() -> None:
    with raises(RecipeInvalid, "65,536"):
        Embeddings(exclude=("lookup",)).apply(_lookup(), Context())
    with raises(RecipeInvalid, "65,536"):
        Embeddings().apply(_lookup(rows=20), Context())


def test_a_format_nobody_runs_is_refused_with_the_legal_ones() -> None:
    with raises(RecipeInvalid, "(2, 4, 8)"):
        Embeddings(bits=3)
