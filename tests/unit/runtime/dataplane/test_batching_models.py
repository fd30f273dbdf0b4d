"""Real models: what a batch answers is what each call alone would have been answered.

Bit for bit where every element is computed by itself; where onnxruntime sums products it may sum
them in another order for another number of rows, and the answers agree within ``TOLERANCE`` of the
largest value.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from onnxlift_runtime.dataplane.batching import Feed, run_together
from onnxlift_runtime.dataplane.session import CPU, Device, Session
from onnxlift_runtime.manifest import Manifest, Padding
from onnxlift_runtime.tensors.arrays import Array
from onnxlift_runtime.tensors.datatypes import DATATYPES, Datatype
from tests.support import builders
from tests.support.runtime import lengths, serving
from tests.support.runtime.strategies import object_array

TOLERANCE: Final = 1e-5
LIMIT: Final = 8
BOUND: Final = Device("cpu", CPU.providers, bound=True)
CALLS: Final = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), min_size=1, max_size=8)
TEXTS: Final = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 20)), min_size=1, max_size=8)
MANY: Final = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)


class Served:
    """One model and its session; ``batches`` are the rows of each inference."""

    def __init__(self, root: Path, model: Any, device: Device = BOUND, **changes: Any) -> None:
        self.manifest = builders.write_artifact(root, model, **{"max_batch_size": LIMIT, **changes})
        self.session = Session(
            root / "tiny" / "1", self.manifest, threads=1, verify=True, device=device
        )
        self.batches: list[int] = []

    def run(
        self, _manifest: Manifest, feeds: Mapping[str, Array], outputs: Sequence[str]
    ) -> dict[str, Array]:
        self.batches.append(len(next(iter(feeds.values()))))
        return self.session.run(feeds, outputs)

    def compare(
        self, calls: Sequence[Mapping[str, Any]]
    ) -> list[tuple[dict[str, Array], dict[str, Array]]]:
        """Each call's answer beside the others, and alone."""
        outputs = tuple(spec.name for spec in self.manifest.outputs)
        self.batches.clear()
        joined = run_together([Feed(self.manifest, call, outputs) for call in calls], self.run)
        assert all(
            rows <= max(LIMIT, *(len(next(iter(call.values()))) for call in calls))
            for rows in self.batches
        )
        return [
            (answer, self.session.run(call, outputs))
            for call, answer in zip(calls, joined, strict=True)
            if isinstance(answer, dict) or pytest.fail(str(answer))
        ]

    def differences(self, calls: Sequence[Mapping[str, Any]], tolerance: float = 0.0) -> list[str]:
        """What is not the same beside the others and alone, within ``tolerance`` of the largest
        value; 0 is bits.
        """
        told: list[str] = []
        for place, (joined, alone) in enumerate(self.compare(calls)):
            for name, expected in alone.items():
                if (joined[name].dtype, joined[name].shape) != (expected.dtype, expected.shape):
                    told.append(
                        f"call {place}, {name}: {joined[name].shape} instead of {expected.shape}"
                    )
                elif not _agree(joined[name], expected, tolerance):
                    told.append(f"call {place}, {name}: {joined[name]} instead of {expected}")
        return told


def _agree(found: Array, expected: Array, tolerance: float) -> bool:
    if not tolerance:
        return np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f")
    largest = float(np.abs(expected).max(initial=1.0))
    return np.allclose(found, expected, rtol=0, atol=tolerance * largest)


def any_array(datatype: Datatype, shape: tuple[int, ...], seed: int) -> Any:
    """Any bits of a datatype."""
    random = np.random.default_rng(seed)
    size = shape[0] * shape[1]
    if datatype.kind == "bytes":
        return object_array([f"é{random.integers(99)}".encode() for _ in range(size)], shape)
    if datatype.kind == "bool":
        return random.integers(0, 2, shape).astype(bool)
    return np.frombuffer(random.bytes(size * datatype.size_bytes), datatype.numpy).reshape(shape)


def normal(shape: tuple[int, ...], seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("datatype", DATATYPES, ids=lambda datatype: datatype.name)
def test_copied_values_of_every_datatype_keep_their_bits(
    datatype: Datatype, tmp_path: Path
) -> None:
    served = Served(tmp_path, builders.identity(datatype.name, (-1, -1)))

    @settings(max_examples=15)
    @given(CALLS, st.integers(0, 1000))
    def holds(shapes: list[tuple[int, int]], seed: int) -> None:
        calls = [
            {"x": any_array(datatype, shape, seed + place)} for place, shape in enumerate(shapes)
        ]
        assert served.differences(calls) == []

    holds()


@pytest.mark.parametrize("operator", ["Relu", "Sigmoid", "Exp"])
def test_elementwise_answers_are_the_same_within_a_rounding(operator: str, tmp_path: Path) -> None:
    node = helper.make_node(operator, ["x"], ["y"])
    values = [builders.value("x", "FP32", (-1, -1))], [builders.value("y", "FP32", (-1, -1))]
    served = Served(tmp_path, builders.build([node], *values))

    @MANY
    @given(CALLS)
    def holds(shapes: list[tuple[int, int]]) -> None:
        assert (
            served.differences(
                [{"x": normal(shape, seed)} for seed, shape in enumerate(shapes)], TOLERANCE
            )
            == []
        )

    holds()


@pytest.mark.parametrize("datatype", ["INT32", "INT64", "FP32", "FP64"])
def test_sums_of_pairs_are_the_same_bits(datatype: str, tmp_path: Path) -> None:
    node = helper.make_node("Add", ["x", "x"], ["y"])
    values = [builders.value("x", datatype, (-1, -1))], [builders.value("y", datatype, (-1, -1))]
    served = Served(tmp_path, builders.build([node], *values))

    @MANY
    @given(CALLS)
    def holds(shapes: list[tuple[int, int]]) -> None:
        kind = served.manifest.inputs[0].datatype
        dtype = {"INT32": np.int32, "INT64": np.int64, "FP32": np.float32, "FP64": np.float64}[kind]
        assert (
            served.differences([{"x": (normal(shape, 0) * 1000).astype(dtype)} for shape in shapes])
            == []
        )

    holds()


@MANY
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=8))
def test_rows_of_a_table_are_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, calls: list[list[int]]
) -> None:
    served = Served(tmp_path_factory.mktemp("gather"), serving.gather())

    assert served.differences([{"x": np.array(call)} for call in calls]) == []


@pytest.mark.parametrize(
    ("model", "name", "row"),
    [
        (builders.linear(), "x", (4,)),
        (builders.mlp(), "x", (16,)),
        (builders.convolution(), "pixels", (1, 8, 8)),
    ],
    ids=["linear", "mlp", "convolution"],
)
def test_sums_of_products_agree_within_the_tolerance(
    model: Any, name: str, row: tuple[int, ...], tmp_path: Path
) -> None:
    served = Served(tmp_path, model)

    @MANY
    @given(st.lists(st.integers(1, LIMIT), min_size=1, max_size=10))
    def holds(sizes: list[int]) -> None:
        assert (
            served.differences(
                [{name: normal((rows, *row), seed)} for seed, rows in enumerate(sizes)], TOLERANCE
            )
            == []
        )

    holds()


def test_filled_integers_are_the_same_bits(tmp_path: Path) -> None:
    served = Served(tmp_path, lengths.masked_integers(), padding=lengths.PADDING)

    @MANY
    @given(TEXTS)
    def holds(texts: list[tuple[int, int]]) -> None:
        assert (
            served.differences([lengths.text(*shape, seed) for seed, shape in enumerate(texts)])
            == []
        )

    holds()


def test_filled_texts_agree_within_the_tolerance(tmp_path: Path) -> None:
    served = Served(tmp_path, lengths.attention(), padding=lengths.PADDING)

    @MANY
    @given(TEXTS)
    def holds(texts: list[tuple[int, int]]) -> None:
        assert (
            served.differences(
                [lengths.text(*shape, seed) for seed, shape in enumerate(texts)], TOLERANCE
            )
            == []
        )

    holds()


def test_texts_of_near_lengths_run_as_one_and_of_others_apart(tmp_path: Path) -> None:
    served = Served(tmp_path, lengths.attention(), padding=lengths.PADDING)

    assert (
        served.differences([lengths.text(1, length) for length in (5, 8, 7, 9, 16, 2)], TOLERANCE)
        == []
    )

    assert sorted(served.batches) == [1, 2, 3]


def test_texts_are_not_filled_where_the_manifest_does_not_allow_it(tmp_path: Path) -> None:
    served = Served(tmp_path, lengths.attention())

    assert served.differences([lengths.text(1, length) for length in (5, 8, 7, 8)], TOLERANCE) == []

    assert sorted(served.batches) == [1, 1, 2]


def test_inputs_that_differ_in_their_length_are_not_filled(tmp_path: Path) -> None:
    manifest = Served(tmp_path, lengths.attention(), padding=lengths.PADDING).manifest
    uneven = {**lengths.text(1, 5), "mask": np.ones((1, 4), np.int64)}

    feed = Feed(manifest, uneven, ("pooled",))

    assert feed.length is None
    assert feed.filled("ids", 8).shape == (1, 5)


def test_an_output_without_the_length_that_it_is_said_to_have_is_computed_alone(
    tmp_path: Path,
) -> None:
    wrong = Padding(1, {"ids": 0, "mask": 0}, ("tokens", "pooled"))
    served = Served(tmp_path, lengths.attention(width=3), padding=wrong)

    compared = served.compare([lengths.text(1, 5), lengths.text(1, 6)])

    assert served.batches == [2, 1, 1]
    assert all(joined["pooled"].shape == alone["pooled"].shape for joined, alone in compared)


def test_rows_that_depend_on_their_neighbours_are_joined_up_to_what_was_judged(
    tmp_path: Path,
) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    values = [builders.value("x", "FP32", (-1, 4))], [builders.value("y", "FP32", (-1, 4))]
    served = Served(tmp_path, builders.build(nodes, *values), max_joined_rows=3)
    calls = [{"x": normal((1, 4), seed)} for seed in range(7)]

    compared = served.compare(calls)

    assert served.batches == [3, 3, 1]
    step = max(float(np.ptp(np.append(call["x"], 0))) for call in calls) * 2 / 255
    assert all(np.abs(joined["y"] - alone["y"]).max() <= step for joined, alone in compared)
