"""Prune: exactly as many zeros as asked for, in weights alone, and less lost when the others take
over.
"""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx.helper import make_node

from onnxlift.compress.steps import Context, Step
from onnxlift.compress.steps.prune import Prune, kept
from onnxlift_runtime.errors import RecipeInvalid, SamplesInvalid
from tests.support import builders
from tests.support.compress import networks
from tests.support.compress.closeness import run
from tests.support.compress.transformer import samples, transformer
from tests.support.errors import raises


def _weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The weight of each layer, by the node's name."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    return {node.name: constants[node.input[1]] for node in layers if node.input[1] in constants}


def _zeros(model: onnx.ModelProto) -> dict[str, int]:
    return {name: int((weight == 0).sum()) for name, weight in _weights(model).items()}


def _size(model: onnx.ModelProto) -> int:
    return sum(weight.size for weight in _weights(model).values())


def _error(changed: onnx.ModelProto, model: onnx.ModelProto, x: np.ndarray) -> float:
    return float(np.square(run(changed, {"x": x}) - run(model, {"x": x})).sum())


@pytest.mark.parametrize("reconstruct", [True, False])
@pytest.mark.parametrize("score", ["magnitude", "l1", "l2"])
def test_the_model_has_exactly_the_sparsity_asked_for(score: str, reconstruct: bool) -> None:
    random = np.random.default_rng(0)
    model, x = networks.cnn(random), networks.correlated(random, 64, 2, 8, 8)

    pruned = Prune(0.6, score=score, reconstruct=reconstruct).apply(model, Context({"x": x}))  # type: ignore[arg-type]

    assert sum(_zeros(pruned).values()) == round(0.6 * _size(model))


def test_every_layer_has_the_sparsity_asked_for_when_the_scope_is_a_layer() -> None:
    random = np.random.default_rng(0)
    model, x = networks.cnn(random), networks.correlated(random, 64, 2, 8, 8)

    pruned = Prune(0.35, scope="layer").apply(model, Context({"x": x}))

    assert _zeros(pruned) == {
        name: round(0.35 * weight.size) for name, weight in _weights(model).items()
    }


def test_the_weights_under_the_threshold_go_and_the_others_stay_without_reconstruction() -> None:
    model = networks.mlp(np.random.default_rng(3), (8, 16, 4))

    pruned = Prune(threshold=0.2, reconstruct=False).apply(model, Context())

    for name, weight in _weights(model).items():
        np.testing.assert_array_equal(
            _weights(pruned)[name], np.where(np.abs(weight) < 0.2, 0, weight)
        )


def test_a_normalised_score_compares_layers_of_unlike_scale() -> None:
    model = networks.mlp(np.random.default_rng(3), (8, 16, 8))
    first = next(tensor for tensor in model.graph.initializer if tensor.name == "w0")
    first.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(first) * np.float32(1000), "w0"))

    plain = Prune(0.4, reconstruct=False).apply(model, Context())
    normalised = Prune(0.4, score="l2", reconstruct=False).apply(model, Context())

    assert _zeros(plain)["layer0"] == 0
    assert _zeros(normalised)["layer0"] > 30


def test_only_weights_and_biases_change() -> None:
    random = np.random.default_rng(0)
    model, x = networks.cnn(random), networks.correlated(random, 64, 2, 8, 8)
    before = model.SerializeToString()

    step = Prune(0.5)
    pruned = step.apply(model, Context({"x": x}))

    assert isinstance(step, Step)
    assert model.SerializeToString() == before
    assert step.apply(model, Context({"x": x})).SerializeToString() == pruned.SerializeToString()
    assert [(node.op_type, node.attribute) for node in pruned.graph.node] == [
        (node.op_type, node.attribute) for node in model.graph.node
    ]
    assert list(pruned.graph.input) == list(model.graph.input)
    assert list(pruned.graph.output) == list(model.graph.output)
    assert sorted(tuple(tensor.dims) for tensor in pruned.graph.initializer) == sorted(
        tuple(tensor.dims) for tensor in model.graph.initializer
    )
    old = {tensor.SerializeToString() for tensor in model.graph.initializer}
    kept_names = {
        tensor.name for tensor in pruned.graph.initializer if tensor.SerializeToString() in old
    }
    assert kept_names >= {"half", "low", "high", "flat", *(f"norm{index}" for index in range(4))}


def test_an_excluded_node_and_shared_weights_stay_as_they_are() -> None:
    random = np.random.default_rng(1)
    constants = {"shared": networks.normal(random, 6, 6), "own": networks.normal(random, 6, 6)}
    names = ("shared", "shared", "own")
    nodes = [
        make_node("MatMul", [f"v{index}", name], [f"v{index + 1}"], name=f"n{index}")
        for index, name in enumerate(names)
    ]
    model = builders.build(
        nodes,
        [builders.value("v0", "FP32", (-1, 6))],
        [builders.value("v3", "FP32", (-1, 6))],
        constants,
    )

    pruned = Prune(0.5, reconstruct=False).apply(model, Context())

    assert _zeros(pruned) == {"n0": 0, "n1": 0, "n2": 18}
    with raises(RecipeInvalid, "no weight"):
        Prune(0.5, exclude=("n2",)).apply(model, Context())


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["mlp", "cnn", "feed_forward"]),
    sparsity=st.floats(0.2, 0.8),
    scope=st.sampled_from(["model", "layer"]),
)
def test_reconstruction_loses_less_on_new_samples(
    seed: int, kind: str, sparsity: float, scope: str
) -> None:
    random = np.random.default_rng(seed)
    shapes = {"mlp": (10,), "cnn": (2, 8, 8), "feed_forward": (6, 8)}
    model = (
        networks.mlp(random, (10, 24, 16, 4)) if kind == "mlp" else getattr(networks, kind)(random)
    )
    x = networks.correlated(random, 384, *shapes[kind])
    known, new = x[:256], x[256:]

    plain, fitted = (
        Prune(sparsity, scope=scope, reconstruct=choice).apply(model, Context({"x": known}))  # type: ignore[arg-type]
        for choice in (False, True)
    )

    nothing = 1e-3 * float(np.square(run(model, {"x": new})).sum())
    assert _error(fitted, model, new) < max(_error(plain, model, new), nothing)


def test_a_transformer_keeps_its_answers_and_its_outputs() -> None:
    model, context = transformer(), Context(samples())

    plain, fitted = (
        Prune(0.5, reconstruct=choice).apply(model, context) for choice in (False, True)
    )

    expected = run(model, context.samples)
    errors = [np.square(run(item, context.samples) - expected).sum() for item in (plain, fitted)]
    assert errors[1] < 0.5 * errors[0]


@settings(max_examples=50, deadline=None)
@given(weights=st.lists(st.integers(-3, 3), min_size=1, max_size=30), data=st.data())
def test_the_mask_leaves_out_the_smallest(weights: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(weights)))

    mask = kept(np.array(weights, np.float32), count)

    assert (~mask).sum() == count
    assert max(np.abs(np.array(weights)[~mask]), default=0) <= min(
        np.abs(np.array(weights)[mask]), default=9
    )


@pytest.mark.parametrize(
    ("settings", "data"),
    [
        ({}, ("sparsity", "threshold")),
        ({"sparsity": 0.5, "threshold": 0.1}, ("sparsity", "threshold")),
        ({"sparsity": 1.0}, ("sparsity", "1.0")),
        ({"threshold": -1.0}, ("threshold", "-1.0")),
        ({"sparsity": 0.5, "rounds": 0}, ("round", 0)),
        ({"sparsity": 0.5, "score": "l3"}, ("l3",)),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    settings: dict[str, float], data: tuple[object, ...]
) -> None:
    with raises(RecipeInvalid, *data):
        Prune(**settings)  # type: ignore[arg-type]


def test_a_model_without_weights_is_refused() -> None:
    with raises(RecipeInvalid, "no weight"):
        Prune(0.5).apply(builders.identity(), Context({"x": np.ones((2, 2), np.float32)}))


def test_reconstruction_without_samples_names_the_input() -> None:
    with raises(SamplesInvalid, "'x'"):
        Prune(0.5).apply(builders.mlp(), Context())


def test_infinite_values_are_refused_with_the_node() -> None:
    x = np.full((40, 16), np.inf, np.float32)

    with raises(SamplesInvalid, "gemm1"):
        Prune(0.5).apply(builders.mlp(), Context({"x": x}))
