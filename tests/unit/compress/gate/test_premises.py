"""A verdict means something only where the model is steady and samples and labels can tell."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxlift.compress.gate.bootstrap import estimate
from onnxlift.compress.gate.premises import (
    class_numbers,
    random_nodes,
    require_above_chance,
    require_numbers_only,
    require_possible,
    require_telling,
)
from onnxlift.compress.model.samples import Samples
from onnxlift.compress.pipeline import compress
from onnxlift_runtime.errors import ModelRefused, SamplesInvalid
from tests.support import builders
from tests.support.compress.bench import Make, silent
from tests.support.errors import raises

PATH = Path("heldout.npz")
SCORES = np.eye(3, dtype=np.float32)


def _noisy(operator: str = "RandomNormalLike") -> onnx.ModelProto:
    """A layer to whose answers noise is added."""
    model = builders.mlp(16, 64, 4)
    answer = model.graph.output[0].name
    model.graph.node[-1].output[0] = "steady"
    model.graph.node.extend(
        [
            helper.make_node(operator, ["steady"], ["noise"], name="dither"),
            helper.make_node("Add", ["steady", "noise"], [answer]),
        ]
    )
    return model


def test_a_model_that_answers_differently_each_time_is_refused_by_its_nodes(make: Make) -> None:
    with raises(ModelRefused, "'dither' (RandomNormalLike)", "input of the model"):
        compress(make(_noisy()), "m", silent)


@pytest.mark.parametrize(
    ("node", "found"),
    [
        (helper.make_node("RandomUniform", [], ["y"], shape=[1]), True),
        (helper.make_node("Dropout", ["x", "ratio", "training"], ["y"]), True),
        (helper.make_node("Dropout", ["x"], ["y"]), False),
        (helper.make_node("RandomUniform", [], ["y"], domain="mine"), False),
    ],
)
def test_nodes_that_draw_are_found_in_branches_too(node: onnx.NodeProto, found: bool) -> None:
    branch = helper.make_graph([node], "b", [], [builders.value("y", "FP32", (1,))])
    holder = helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
    model = builders.build([holder], [], [])

    assert len(random_nodes(model)) == (2 if found else 0)


def test_equal_samples_tell_nothing() -> None:
    with raises(SamplesInvalid, "all 5 samples are equal"):
        require_telling(Samples({"x": np.ones((5, 2))}), PATH)
    require_telling(Samples({"x": np.ones((1, 2))}), PATH)
    require_telling(Samples({"x": np.arange(4)}), PATH)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_calibration_samples_must_be_numbers(number: float) -> None:
    array = np.ones((4, 2), np.float32)
    array[2, 1] = number

    with raises(SamplesInvalid, "'x'", "sample 2"):
        require_numbers_only(Samples({"ids": np.arange(4), "x": array}), PATH)


@pytest.mark.parametrize("kind", [np.str_, np.bytes_])
def test_labels_that_are_names_become_numbers(kind: type) -> None:
    labels: np.ndarray = np.array(["two", "zero"]).astype(kind)

    assert class_numbers(labels, ("zero", "one", "two"), PATH).tolist() == [2, 0]
    assert class_numbers(labels, (), PATH) is labels
    with raises(SamplesInvalid, "'two'"):
        class_numbers(labels, ("zero", "one"), PATH)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array(["zero", "one", "two"]), "are text such as"),
        (np.array([1, 2, 3]), "from 1 to 3"),
        (np.array([-1, 0, 1]), "from -1 to 1"),
        (np.array([0.5, 1, 2]), "whole numbers"),
    ],
)
def test_labels_that_equal_no_class_are_refused(labels: np.ndarray, words: str) -> None:
    with raises(SamplesInvalid, words):
        require_possible(labels, SCORES)


@pytest.mark.parametrize(
    ("labels", "answers", "accuracy"),
    [
        (np.array([0.0, 1, 2]), SCORES, 1),
        (np.array([5, 7]), np.array([5, 6]), 0.5),
        (np.array(["a", "b"]), np.array([b"a", b"b"]), 1),
    ],
)
def test_labels_may_be_numbers_of_any_kind_or_the_text_that_a_model_answers(
    labels: np.ndarray, answers: np.ndarray, accuracy: float
) -> None:
    require_possible(labels, answers)

    assert estimate("accuracy", answers, answers, labels, 0.95).measured == accuracy


@pytest.mark.parametrize(
    ("accuracy", "samples", "fits"),
    [(0.0, 2, False), (0.2, 10, True), (0.2, 40, False), (0.5, 40, False), (0.51, 40, True)],
)
def test_labels_that_are_met_no_better_than_by_guessing_are_refused(
    accuracy: float, samples: int, fits: bool
) -> None:
    refused = ""
    try:
        require_above_chance(accuracy, np.arange(samples) % 2)
    except SamplesInvalid as error:
        refused = str(error)

    assert (refused == "") == fits
    assert fits or "guessing among 2 classes" in refused
