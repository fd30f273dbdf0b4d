"""The gate is pure: what passes, what does not and why, on every instruction set and batch size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift.compress.gate.judgement import Gate, agreement, too_few
from onnxlift.compress.model.answers import Answers
from onnxlift.compress.results import Agreement, CandidateRow
from onnxlift.config import Quality
from onnxlift_runtime.errors import QualityGateFailed, SamplesInvalid
from tests.support.errors import raises

RANDOM = np.random.default_rng(4)
REFERENCE = RANDOM.normal(size=(200, 8)).astype(np.float32)
LABELS = REFERENCE.argmax(axis=1)


def _y(answers: np.ndarray) -> Answers:
    """Answers of a model with one output."""
    return {"y": answers}


def _gate(**conditions: Any) -> Gate:
    quality = Quality.model_validate(
        {"samples": Path("h.npz"), "metric": "cosine", "max_drop": 0.01, **conditions}
    )
    return Gate.of(quality, "y", {1: _y(REFERENCE), 32: _y(REFERENCE)}, LABELS)


def _noisy(size: float) -> np.ndarray:
    return REFERENCE + size * np.random.default_rng(8).normal(size=REFERENCE.shape).astype(
        np.float32
    )


def test_the_model_itself_passes() -> None:
    gate = _gate()

    figures = gate.judge(_y(REFERENCE), 1, "here")

    assert gate.obstacle(figures, ()) == ""
    assert (figures[0].samples, figures[0].batch_size, figures[0].instruction_set) == (
        200,
        1,
        "here",
    )


def test_a_figure_within_the_limit_whose_bound_is_not_does_not_pass() -> None:
    answers = REFERENCE.copy()
    answers[:2] *= -1  # two of 200 samples, 1 %, and the bound is above
    gate = _gate(metric="top1_agreement", max_drop=0.012)

    figures = gate.judge(_y(answers), 1, "here")

    assert figures[0].measured == pytest.approx(0.99)
    assert figures[0].bound < 0.988
    assert gate.obstacle(figures, ()).startswith("top1_agreement falls from 1 to 0.99 (bound 0.9")


def test_the_worst_batch_size_and_instruction_set_count() -> None:
    gate = _gate()
    good, bad = gate.judge(_y(REFERENCE), 1, "x"), gate.judge(_y(_noisy(0.5)), 32, "y")

    assert gate.obstacle([*good, *bad], ()).endswith("(y, batch 32)")


def test_every_condition_must_hold() -> None:
    gate = _gate(also=[{"metric": "max_absolute_error", "max_error": 0.5}])
    answers = REFERENCE.copy()
    answers[0, 0] += 0.7

    reason = gate.obstacle(gate.judge(_y(answers), 1, "x"), ())

    assert reason.startswith("max_absolute_error rises from 0 to 0.7")
    assert "where 0.5 is allowed" in reason


@given(st.floats(0, 2), st.floats(0, 1))
def test_an_error_passes_exactly_up_to_its_largest_value(limit: float, error: float) -> None:
    gate = _gate(metric="max_absolute_error", max_error=limit)
    answers = REFERENCE.astype(np.float64)
    answers[3, 3] += error

    figures = gate.judge(_y(answers), 1, "x")

    assert (gate.obstacle(figures, ()) == "") == (figures[0].bound <= limit + 1e-9)


@pytest.mark.parametrize(
    ("measured", "passes"), [(1.0, True), (0.999, True), (0.9989, False), (float("nan"), False)]
)
def test_instruction_sets_must_agree(measured: float, passes: bool) -> None:
    gate = _gate()

    reason = gate.obstacle(gate.judge(_y(REFERENCE), 1, "x"), [Agreement("y", measured, "masked")])

    assert (reason == "") == passes
    assert passes or reason.startswith("on y it answers differently: agreement")


def test_an_answer_that_is_no_number_is_refused() -> None:
    answers = REFERENCE.copy()
    answers[5, 5] = np.nan

    with raises(QualityGateFailed, "NaN"):
        _gate().judge(_y(answers), 1, "x")


def test_a_limit_that_nobody_measured_is_not_passed() -> None:
    assert _gate().obstacle((), ()) == "cosine was not measured"


def test_a_slow_instruction_set_adds_what_it_loses_on_some_samples() -> None:
    gate, picked, here = _gate(max_drop=0.05), np.arange(0, 200, 5), _noisy(0.1)
    known = gate.judge(_y(here), 1, "here")

    same = gate.judge_some(picked, here[picked], here[picked], known, 1, "there")
    worse = gate.judge_some(picked, here[picked], _noisy(0.6)[picked], known, 1, "there")

    assert (same[0].measured, same[0].bound, same[0].samples) == (
        known[0].measured,
        known[0].bound,
        40,
    )
    assert worse[0].bound < same[0].bound - 0.05
    assert gate.obstacle(same, ()) == ""
    assert gate.obstacle(worse, ()) != ""


def test_the_manifest_gets_the_worst_figure_of_every_limit() -> None:
    gate = _gate(also=[{"metric": "mean_absolute_error", "max_error": 0.5}])
    figures = (*gate.judge(_y(REFERENCE), 1, "x"), *gate.judge(_y(_noisy(0.05)), 32, "x"))

    main, error = gate.qualities(CandidateRow("r", (), "chosen", figures=figures))

    assert (main.metric, main.confidence) == ("cosine", 0.95)
    assert main.reference == pytest.approx(1)
    assert main.max_drop == pytest.approx(0.01)
    assert main.bound is not None
    assert main.bound <= main.measured < 1
    assert (error.metric, error.larger_is_better) == ("mean_absolute_error", False)
    assert 0 < error.drop == error.measured


def _accuracy(samples: int, max_drop: float) -> Gate:
    reference = np.eye(4, dtype=np.float32)[np.arange(samples) % 4]
    quality = {"samples": Path("h.npz"), "metric": "accuracy", "max_drop": max_drop}
    labels = np.arange(samples) % 4
    return Gate.of(Quality.model_validate(quality), "y", {1: _y(reference)}, labels)


@pytest.mark.parametrize(("samples", "blind"), [(1, True), (497, True), (598, False)])
def test_samples_that_cannot_show_the_allowed_loss_are_named(samples: int, blind: bool) -> None:
    gate = _accuracy(samples, 0.005)

    (figure,) = gate.judge(gate.references[1], 1, "x")

    assert gate.obstacle([figure], ()) == ""
    assert ("598 samples would" in too_few(gate.limits[0], figure)) == blind


def test_no_number_of_samples_shows_that_nothing_is_lost() -> None:
    gate = _accuracy(100, 0)

    (figure,) = gate.judge(gate.references[1], 1, "x")

    assert "no number of samples" in too_few(gate.limits[0], figure)


def test_few_samples_excuse_no_loss_that_they_show() -> None:
    gate = _accuracy(100, 0.005)
    answers = gate.references[1]["y"].copy()
    answers[0] = np.roll(answers[0], 1)

    assert gate.obstacle(gate.judge(_y(answers), 1, "x"), ()) != ""


def test_an_output_that_no_limit_judges_must_live_too() -> None:
    gate = _gate()
    reference = {**_y(REFERENCE), "scores": REFERENCE[:, :2]}
    gate = Gate.of(gate.conditions, "y", {1: reference}, LABELS)
    dead = {**reference, "scores": 0 * REFERENCE[:, :2]}

    assert gate.broken(reference, 1, "x") == ""
    assert gate.obstacle(gate.judge(dead, 1, "x"), ()) == ""
    assert gate.broken(dead, 1, "x").startswith("output 'scores' is broken")
    assert "one row for each sample" in gate.broken(_y(REFERENCE), 1, "x")
    assert "NaN" in gate.broken({**dead, "scores": np.nan * dead["scores"]}, 1, "x")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (np.eye(3), np.eye(3), 1.0),
        (np.array([[1.0, 0]]), np.array([[0.0, 1]]), 0.0),
        (np.array([[1.0], [2]]), np.array([[1.0], [2]]), 1.0),
        (np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]), 0.75),
        (np.array([b"a", b"b"]), np.array([b"a", b"c"]), 0.5),
        (np.array([[1.0]]), np.array([[1.0]]), 1.0),
        (np.array([[-np.inf, 1, 2]]), np.array([[-np.inf, 1, 2]]), 1.0),
    ],
)
def test_agreement_takes_any_kind_of_answer(
    first: np.ndarray, second: np.ndarray, expected: float
) -> None:
    assert agreement(first, second) == pytest.approx(expected)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_no_finite_number_agrees_with_one(number: float) -> None:
    assert np.isnan(agreement(np.ones((2, 2)), np.full((2, 2), number)))


def test_infinite_answers_are_no_numbers_to_compare_and_still_have_classes() -> None:
    answers = REFERENCE.copy()
    answers[3, 3] = np.inf

    with raises(SamplesInvalid, "infinite"):
        Gate.of(_gate().conditions, "y", {1: _y(answers)}, None)
    gate = Gate.of(_gate(metric="top1_agreement").conditions, "y", {1: _y(answers)}, None)

    assert gate.obstacle(gate.judge(_y(answers), 1, "x"), ()) == ""
