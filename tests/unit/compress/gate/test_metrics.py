"""The gate's metrics and their bounds: full marks for the model itself, known figures, bounds on
the worse side.
"""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from onnxlift.compress.gate import metrics
from onnxlift.compress.gate.bootstrap import DRAWS, draw, estimate, least_loss, samples_to_show
from onnxlift.compress.gate.lookup import find_metric
from onnxlift.compress.gate.metrics import METRICS, classes
from onnxlift.config import ERROR_METRICS
from onnxlift_runtime.errors import ConfigInvalid, SamplesInvalid
from tests.support.errors import raises

scores = arrays(np.float32, (6, 4), elements=st.floats(-100, 100, width=32), unique=True)
names = st.sampled_from([*METRICS, "top1_agreement", "top2_agreement"])


def _figure(name: str, reference: Any, answers: Any, labels: Any = None) -> float:
    reference, answers = (np.asarray(array, np.float32) for array in (reference, answers))
    return estimate(
        name, reference, answers, labels if labels is None else np.asarray(labels), 0.95
    ).measured


@given(names, scores)
def test_the_model_itself_loses_nothing(name: str, answers: np.ndarray) -> None:
    found = estimate(name, answers, answers, classes(answers), 0.95)

    assert found.measured == pytest.approx(0.0 if name in ERROR_METRICS else 1.0, abs=1e-6)
    assert found.bootstrap_bound == pytest.approx(found.measured, abs=1e-6)


@settings(max_examples=50)
@given(names, scores, scores, st.floats(0.5, 0.99))
def test_a_bound_is_never_better_than_the_figure_and_grows_with_confidence(
    name: str, reference: np.ndarray, answers: np.ndarray, confidence: float
) -> None:
    labels = classes(reference)

    some = estimate(name, reference, answers, labels, confidence)
    surer = estimate(name, reference, answers, labels, 0.995)

    sign = -1 if name in ERROR_METRICS else 1
    assert sign * some.bound <= sign * some.measured + 1e-6
    assert sign * surer.bound <= sign * some.bound + 1e-6


@given(names, scores, scores)
def test_no_metric_leaves_its_range(name: str, reference: np.ndarray, answers: np.ndarray) -> None:
    found = estimate(name, reference, answers, classes(reference), 0.95)

    assert math.isfinite(found.bound)
    if name not in ERROR_METRICS:
        lowest = -np.inf if name == "r2" else -1 - 1e-6
        assert lowest <= found.measured <= 1 + 1e-6


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_bound_of_a_mean_is_where_theory_puts_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.zeros(400, np.int64)
    answers = np.where(random.random((400, 1)) < 0.2, [[0.0, 1.0]], [[1.0, 0.0]]).astype(np.float32)
    reference = np.tile(np.array([[1.0, 0.0]], np.float32), (400, 1))

    found = estimate("accuracy", reference, answers, labels, 0.95)

    wrong = 1 - found.measured
    expected = found.measured - 1.645 * np.sqrt(wrong * (1 - wrong) / 400)
    assert found.bound == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("samples", "confidence", "least"),
    [(497, 0.95, 0.00601), (360, 0.95, 0.00829), (1, 0.95, 0.95), (1, 0.5, 0.5), (10, 0.9, 0.2057)],
)
def test_no_change_in_a_few_samples_leaves_what_they_cannot_show(
    samples: int, confidence: float, least: float
) -> None:
    answers = np.tile(np.array([[1, 0]], np.float32), (samples, 1))

    found = estimate("accuracy", answers, answers, np.zeros(samples, np.int64), confidence)

    assert (found.measured, found.bootstrap_bound) == (1, 1)
    assert found.least_loss == pytest.approx(least, abs=1e-4)
    assert found.bound == pytest.approx(1 - least, abs=1e-4)


@pytest.mark.parametrize(("loss", "samples"), [(0.005, 598), (0.05, 59), (0, 0), (1, 1)])
def test_the_samples_that_show_a_loss_are_counted(loss: float, samples: int) -> None:
    needed = samples_to_show(loss, 0.95)

    assert needed == samples
    if 0 < loss < 1:
        assert (
            least_loss("accuracy", needed, 0.95) <= loss < least_loss("accuracy", needed - 1, 0.95)
        )


def test_one_sample_shows_nothing_of_a_mean() -> None:
    assert least_loss("cosine", 1, 0.95) == np.inf
    assert least_loss("cosine", 2, 0.95) == 0


def test_draws_are_the_same_every_time_and_count_all_samples() -> None:
    counts = draw(50)

    assert counts.shape == (DRAWS, 50)
    assert (counts.sum(axis=1) == 50).all()
    draw.cache_clear()
    np.testing.assert_array_equal(counts, draw(50))


def test_what_both_models_get_wrong_is_no_loss() -> None:
    answers = np.tile(np.array([[1, 0], [0, 1]], np.float32), (50, 1))

    found = estimate("accuracy", answers, answers, np.zeros(100, np.int64), 0.95)

    assert (found.reference, found.measured, found.bootstrap_bound) == (0.5, 0.5, 0.5)


def test_r2_is_the_share_of_the_variation_that_is_kept() -> None:
    reference = np.array([[1.0, 10], [2, 10], [3, 10], [4, 10]])
    answers = reference + np.array([[0.5, 0], [-0.5, 0], [0.5, 0], [-0.5, 0]])

    assert _figure("r2", reference, answers) == pytest.approx(1 - 4 * 0.25 / 5)
    assert _figure("r2", reference, reference) == 1
    with raises(SamplesInvalid, "answers differently"):
        _figure("r2", np.ones((4, 2)), np.ones((4, 2)))


def test_accuracy_counts_right_classes() -> None:
    answers = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]

    assert _figure("accuracy", answers, answers, [0, 1, 1]) == pytest.approx(2 / 3)


def test_accuracy_takes_classes_by_number_or_name() -> None:
    numbers, words = np.array([3, 4]), np.array([b"a", "ä".encode()])

    assert estimate("accuracy", numbers, numbers, np.array([3, 5]), 0.95).measured == 0.5
    assert estimate("accuracy", words, words, np.array(["a", "ä"]), 0.95).measured == 1.0


def test_f1_weighs_rare_classes_as_frequent_ones() -> None:
    answers = np.eye(3, dtype=np.float32)[[0, 0, 0, 0, 1, 1]]

    # Class 0: 4 of 4 (F1 1), class 1: one hit, one false (2/3), class 2: missed (0).
    assert _figure("f1", answers, answers, [0, 0, 0, 0, 1, 2]) == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_top_agreement_is_the_share_of_the_best_classes() -> None:
    assert _figure("top2_agreement", [[4, 3, 2, 1]], [[4, 1, 3, 2]]) == 0.5
    assert _figure("top1_agreement", [[4, 3, 2, 1]], [[4, 1, 3, 2]]) == 1.0


def test_cosine_min_is_the_worst_sample() -> None:
    reference, answers = [[1, 0], [1, 0], [1, 0]], [[1, 0], [1, 1], [2, 0]]

    assert _figure("cosine_min", reference, answers) == pytest.approx(np.sqrt(0.5))
    assert _figure("cosine", reference, answers) == pytest.approx((2 + np.sqrt(0.5)) / 3)


def test_cosine_counts_zeros_as_right_only_where_zeros_are_meant() -> None:
    assert _figure("cosine", [[0, 0], [1, 0]], np.zeros((2, 2))) == 0.5


def test_spearman_sees_order_and_not_size() -> None:
    column = np.arange(8, dtype=np.float32)[:, None]

    assert _figure("spearman", column, np.exp(column)) == pytest.approx(1)
    assert _figure("spearman", column, -column) == pytest.approx(-1)
    assert _figure(
        "spearman", column, np.array([0, 0, 1, 1, 2, 2, 3, 3])[:, None]
    ) == pytest.approx(0.9759, abs=1e-4)


def test_errors_are_distances_to_the_fp32_model() -> None:
    assert _figure("mean_absolute_error", [[0, 0], [1, 1]], [[1, 0], [1, 4]]) == 1.0
    assert _figure("max_absolute_error", [[0, 0], [1, 1]], [[1, 0], [1, 4]]) == 3.0


def test_nearest_neighbours_are_compared() -> None:
    reference = [[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]]
    answers = [[1, 0], [0, 1], [0.1, 0.9], [0.9, 0.1]]

    assert _figure("nearest_neighbour_agreement", reference, reference) == 1.0
    assert _figure("nearest_neighbour_agreement", reference, answers) == 0.0


@pytest.mark.parametrize(
    ("name", "answers", "labels", "data"),
    [
        (
            "accuracy",
            np.ones((2, 3)),
            np.zeros((2, 1)),
            ("[2, 1]", "[2]"),
        ),
        ("accuracy", np.ones((2, 3)), None, ("quality.labels",)),
        ("f1", np.ones((2, 3)), None, ("quality.labels",)),
        ("accuracy", np.ones((4, 1)), np.zeros(4), ("no classes",)),
        ("top1_agreement", np.ones((4, 1)), None, ("no classes",)),
        ("top5_agreement", np.ones((4, 5)), None, ("'top5_agreement'", 5)),
        ("cosine", np.ones((4, 1)), None, ("'cosine'", "values")),
        ("spearman", np.ones((4, 2)), None, ("'spearman'", "differently")),
        ("spearman", np.ones((2, 2)), None, ("'spearman'", "three")),
        (
            "nearest_neighbour_agreement",
            np.ones((2, 2)),
            None,
            ("'nearest_neighbour_agreement'", "three"),
        ),
        ("cosine", np.array([b"a", b"b"]), None, ("text",)),
    ],
)
def test_answers_that_do_not_fit_a_metric_are_refused(
    name: str, answers: Any, labels: Any, data: tuple[object, ...]
) -> None:
    with raises(SamplesInvalid, *data):
        estimate(name, answers, answers, labels, 0.95)


def halved(reference: np.ndarray, answers: np.ndarray, _labels: np.ndarray | None) -> np.ndarray:
    return np.asarray(1 - np.abs(reference - answers).mean(axis=1) / 2)


def wrong_shape(reference: np.ndarray, _answers: np.ndarray, _labels: np.ndarray | None) -> float:
    return float(reference.mean())


def no_number(
    reference: np.ndarray, _answers: np.ndarray, _labels: np.ndarray | None
) -> np.ndarray:
    return np.full(len(reference), np.nan)


def test_a_function_of_the_user_is_a_metric() -> None:
    assert _figure(f"{__name__}:halved", np.zeros((4, 2)), np.ones((4, 2))) == 0.5


@pytest.mark.parametrize(
    ("function", "word"),
    [("wrong_shape", "each sample"), ("no_number", "no number")],
)
def test_a_function_that_gives_no_scores_is_refused(function: str, word: str) -> None:
    with raises(SamplesInvalid, function, word):
        _figure(f"{__name__}:{function}", np.zeros((4, 2)), np.ones((4, 2)))


@pytest.mark.parametrize("name", ["nowhere_at_all:f", f"{__name__}:nothing"])
def test_a_function_that_is_not_there_is_named(name: str) -> None:
    with raises(ConfigInvalid, name):
        find_metric(name)


def test_equal_values_share_a_rank() -> None:
    ranks = metrics.ranks(np.array([[5.0], [1.0], [5.0], [0.0]]))

    np.testing.assert_allclose(ranks[:, 0], np.array([2.5, 1.0, 2.5, 0.0]) / 3)
