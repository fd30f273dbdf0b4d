"""Prune structured: smaller weights between the same inputs and outputs, and layers that make up
for what went.
"""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx.helper import make_node

from onnxlift.compress.pruning.widths import parameters
from onnxlift.compress.steps import Context, Step
from onnxlift.compress.steps.prune_structured import PruneStructured
from onnxlift_runtime.errors import RecipeInvalid, SamplesInvalid
from tests.support import builders
from tests.support.compress import networks
from tests.support.compress.closeness import run
from tests.support.compress.transformer import samples, transformer
from tests.support.errors import raises

SHAPES = {"mlp": (10,), "cnn": (2, 8, 8), "feed_forward": (6, 8)}


def _network(kind: str, random: np.random.Generator) -> onnx.ModelProto:
    model: onnx.ModelProto = (
        networks.mlp(random, (10, 24, 16, 4)) if kind == "mlp" else getattr(networks, kind)(random)
    )
    return model


def _inputs(model: onnx.ModelProto) -> dict[str, list[tuple[int, ...]]]:
    """The shapes of the constants that each node reads, by the node's name."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return {
        node.name: [shapes[name] for name in node.input if name in shapes]
        for node in model.graph.node
    }


def _error(changed: onnx.ModelProto, model: onnx.ModelProto, x: np.ndarray) -> float:
    return float(np.square(run(changed, {"x": x}) - run(model, {"x": x})).sum())


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(sorted(SHAPES)),
    share=st.floats(0.1, 0.5),
    scope=st.sampled_from(["model", "layer"]),
    multiple=st.sampled_from([1, 4]),
)
def test_the_share_goes_and_reconstruction_loses_less(
    seed: int, kind: str, share: float, scope: str, multiple: int
) -> None:
    random = np.random.default_rng(seed)
    model, x = _network(kind, random), networks.correlated(random, 384, *SHAPES[kind])
    known, new = Context({"x": x[:256]}), x[256:]

    plain, fitted = (
        PruneStructured(share, "saliency", scope, multiple, choice).apply(model, known)  # type: ignore[arg-type]
        for choice in (False, True)
    )

    assert parameters(fitted) <= (1 - share) * parameters(model)
    assert _inputs(fitted) == _inputs(plain)
    nothing = 1e-3 * float(np.square(run(model, {"x": new})).sum())
    # A network that hardly lost anything may lose a little more on samples that the fit never saw.
    assert _error(fitted, model, new) < max(1.25 * _error(plain, model, new), nothing)


def test_everything_that_carries_the_channels_gets_narrower_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    model, x = networks.cnn(random), networks.correlated(random, 200, 2, 8, 8)
    before = model.SerializeToString()

    step = PruneStructured(0.4, scope="layer", multiple=4)
    pruned = step.apply(model, Context({"x": x}))

    assert isinstance(step, Step)
    assert model.SerializeToString() == before
    assert step.apply(model, Context({"x": x})).SerializeToString() == pruned.SerializeToString()
    assert [node.op_type for node in pruned.graph.node] == [
        node.op_type for node in model.graph.node
    ]
    found = _inputs(pruned)
    first, second, hidden = found["first"][0][0], found["second"][0][0], found["hidden"][0][1]
    assert (first < 12, second < 16, hidden < 20) == (True, True, True)
    assert found["norm"] == [(first,)] * 4
    assert found["depthwise"] == [(first, 1, 3, 3), (first,)]
    assert found["second"] == [(second, first, 3, 2), (second,)]
    assert found["hidden"] == [(second * 6, hidden)]
    assert found["hidden_bias"] == [(hidden,)]
    assert found["last"] == [(hidden, 5)]
    assert list(pruned.graph.input) == list(model.graph.input)
    assert list(pruned.graph.output) == list(model.graph.output)


@pytest.mark.parametrize("score", ["l1", "l2"])
def test_small_weights_go_without_samples(score: str) -> None:
    model = networks.mlp(np.random.default_rng(0), (8, 12, 4))
    tensor = next(item for item in model.graph.initializer if item.name == "w0")
    weight = numpy_helper.to_array(tensor).copy()
    weight[[2, 5, 7]] /= 1000
    tensor.CopyFrom(numpy_helper.from_array(weight, "w0"))

    pruned = PruneStructured(0.2, score, multiple=1, reconstruct=False).apply(model, Context())  # type: ignore[arg-type]

    [left, _] = [
        numpy_helper.to_array(item)
        for item in pruned.graph.initializer
        if item.name in ("w0_1", "b0_1")
    ]
    np.testing.assert_array_equal(left, np.delete(weight, [2, 5, 7], axis=0))


def test_channels_that_others_repeat_cost_nothing() -> None:
    random = np.random.default_rng(2)
    model = networks.mlp(random, (8, 12, 4))
    for name in ("w0", "b0"):
        tensor = next(item for item in model.graph.initializer if item.name == name)
        whole = numpy_helper.to_array(tensor).copy()
        whole[6:] = whole[:6]
        tensor.CopyFrom(numpy_helper.from_array(whole, name))
    x = networks.normal(random, 300, 8)

    pruned = PruneStructured(0.4, multiple=6).apply(model, Context({"x": x}))

    assert _inputs(pruned)["layer1"] == [(4, 6), (4,)]
    assert _error(pruned, model, x) < 1e-3 * float(np.square(run(model, {"x": x})).sum())


def test_a_transformer_loses_feed_forward_width_alone() -> None:
    model, context = transformer(), Context(samples())

    pruned = PruneStructured(0.05).apply(model, context)

    changed = {
        name: shapes for name, shapes in _inputs(pruned).items() if shapes != _inputs(model)[name]
    }
    assert changed == {"wide": [(32, 32)], "wide_add": [(32,)], "narrow": [(32, 32)]}


def test_a_value_that_is_summed_with_another_keeps_its_channels() -> None:
    random = np.random.default_rng(0)
    constants = {
        name: networks.normal(random, 8, 8, 1, 1, scale=0.3) for name in ("k0", "k1", "k2")
    }
    nodes = [
        make_node("Conv", ["x", "k0"], ["c0"], name="stem"),
        make_node("Conv", ["c0", "k1"], ["c1"], name="inner"),
        make_node("Relu", ["c1"], ["r1"], name="relu"),
        make_node("Conv", ["r1", "k2"], ["c2"], name="outer"),
        make_node("Add", ["c2", "c0"], ["y"], name="residual"),
    ]
    shape = builders.value("x", "FP32", (-1, 8, 4, 4)), builders.value("y", "FP32", (-1, 8, 4, 4))
    model = builders.build(nodes, [shape[0]], [shape[1]], constants)
    x = networks.correlated(random, 64, 8, 4, 4)

    pruned = PruneStructured(0.2, multiple=1).apply(model, Context({"x": x}))

    found = _inputs(pruned)
    assert found["stem"] == [(8, 8, 1, 1)]
    assert found["inner"][0][0] == found["outer"][0][1] < 8
    assert found["outer"][0][0] == 8


@pytest.mark.parametrize("operator", ["Softmax", "LayerNormalization"])
def test_what_mixes_channels_ends_a_group(operator: str) -> None:
    random = np.random.default_rng(0)
    constants = {
        "w0": networks.normal(random, 8, 8),
        "w1": networks.normal(random, 8, 8),
        "g": np.ones(8, np.float32),
    }
    nodes = [
        make_node("MatMul", ["x", "w0"], ["h"], name="n0"),
        make_node(
            operator, ["h", "g"] if operator == "LayerNormalization" else ["h"], ["m"], name="mix"
        ),
        make_node("MatMul", ["m", "w1"], ["y"], name="n1"),
    ]
    model = builders.build(
        nodes,
        [builders.value("x", "FP32", (-1, 8))],
        [builders.value("y", "FP32", (-1, 8))],
        constants,
    )

    with raises(RecipeInvalid, "no channels"):
        PruneStructured(0.1, multiple=1).apply(model, Context({"x": networks.normal(random, 9, 8)}))


def test_a_value_that_is_an_output_keeps_its_channels() -> None:
    model = builders.mlp()
    model.graph.output.append(builders.value("a", "FP32", (-1, 64)))

    with raises(RecipeInvalid, "no channels"):
        PruneStructured().apply(model, Context({"x": np.ones((8, 16), np.float32)}))


def test_an_excluded_reader_keeps_its_inputs() -> None:
    with raises(RecipeInvalid, "no channels"):
        PruneStructured(exclude=("gemm2",)).apply(
            builders.mlp(), Context({"x": np.ones((8, 16), np.float32)})
        )


def test_a_share_that_cannot_be_reached_names_the_largest_that_can() -> None:
    with raises(RecipeInvalid, "90%", "75%"):
        PruneStructured(0.9, "l1").apply(builders.mlp(), Context())


@pytest.mark.parametrize(
    "settings", [{"share": 0.0}, {"share": 1.0}, {"score": "l3"}, {"multiple": 0}]
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with raises(RecipeInvalid, "prune_structured takes"):
        PruneStructured(**settings)  # type: ignore[arg-type]


def test_saliency_without_samples_names_the_input() -> None:
    with raises(SamplesInvalid, "'x'"):
        PruneStructured().apply(builders.mlp(), Context())


def test_fewer_samples_than_a_run_takes_are_refused() -> None:
    model = builders.mlp()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 16

    with raises(SamplesInvalid, "fewer"):
        PruneStructured().apply(model, Context({"x": np.ones((8, 16), np.float32)}))
