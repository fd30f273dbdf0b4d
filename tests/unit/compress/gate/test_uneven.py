"""Answers of different shapes: stored without pickles, and measured sample by sample."""

from pathlib import Path

import numpy as np
import pytest

from onnxlift.compress.gate.answers import from_arrays, gather, is_uneven, to_arrays, together
from onnxlift.compress.gate.bootstrap import estimate
from onnxlift.compress.gate.judgement import agreement, require_numbers
from onnxlift_runtime.errors import QualityGateFailed, SamplesInvalid
from tests.support.builders import spec
from tests.support.errors import raises
from tests.support.signatures import numbers

SHAPES = [(3, 6), (0, 6), (1, 6), (3, 6)]


def uneven(shift: float = 0.0) -> np.ndarray:
    return together([numbers(shape, row) + np.float32(shift) for row, shape in enumerate(SHAPES)])


def test_answers_are_stored_and_read_again(tmp_path: Path) -> None:
    for answers in (uneven(), numbers((4, 2)), together([np.array(1.0), np.array(2.0)])):
        np.savez(tmp_path / "a.npz", **to_arrays("a", answers))  # type: ignore[arg-type]
        with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
            again = from_arrays("a", stored)

        assert is_uneven(again) == is_uneven(answers)
        assert [np.asarray(item).tolist() for item in again] == [
            np.asarray(item).tolist() for item in answers
        ]


def test_rows_are_gathered_from_their_axis_and_whole_results_as_they_are() -> None:
    steps = [numbers((5, rows, 3), rows) for rows in (2, 1)]

    joined = gather(steps, spec("steps", "FP32", (-1, -1, 3)), 1)
    whole = gather(steps, spec("steps", "FP32", (-1, -1, 3)), None)
    single = gather([numbers((1, 4)), numbers((1, 4))], spec("y", "FP32", (1, 4)), None)

    assert joined.shape == (3, 5, 3)
    np.testing.assert_array_equal(joined[2], steps[1][:, 0])
    assert [answer.shape for answer in whole] == [(5, 2, 3), (5, 1, 3)]
    assert single.shape == (2, 4)


@pytest.mark.parametrize(("metric", "best"), [
    ("cosine", 1.0), ("cosine_min", 1.0), ("mean_absolute_error", 0.0),
    ("max_absolute_error", 0.0), ("top1_agreement", 1.0), ("top2_agreement", 1.0),
])  # fmt: skip
def test_equal_answers_get_the_best_figure_and_others_a_worse_one(metric: str, best: float) -> None:
    same = estimate(metric, uneven(), uneven(), None, 0.95)
    other = estimate(metric, uneven(), together([-item for item in uneven()]), None, 0.95)

    assert same.measured == pytest.approx(best)
    assert abs(other.measured - best) > 0.1


def test_an_answer_with_another_number_of_rows_counts_as_different() -> None:
    fewer = together([item[:1] for item in uneven()])

    assert estimate("cosine", uneven(), fewer, None, 0.95).measured < 0.95
    assert estimate("top1_agreement", uneven(), fewer, None, 0.95).measured == pytest.approx(
        (1 / 3 + 1 + 1 + 1 / 3) / 4
    )


def test_even_answers_are_compared_with_uneven_ones() -> None:
    even = together([numbers((3, 6), row) for row in range(4)])

    assert estimate("cosine", uneven(), even, None, 0.95).measured < 1.0


@pytest.mark.parametrize("metric", ["spearman", "nearest_neighbour_agreement", "accuracy", "f1"])
def test_metrics_that_need_one_shape_say_so(metric: str) -> None:
    with raises(SamplesInvalid, metric, "shape"):
        estimate(metric, uneven(), uneven(), np.zeros(4, np.int64), 0.95)


def test_a_value_that_is_no_number_is_seen_in_any_sample() -> None:
    broken = uneven()
    broken[2] = broken[2] * np.float32("nan")

    require_numbers(uneven())
    with pytest.raises(QualityGateFailed):
        require_numbers(broken)


def test_agreement_is_the_mean_of_the_samples() -> None:
    other = uneven()
    other[0] = other[0][:2]

    assert agreement(uneven(), uneven()) == pytest.approx(1.0)
    assert agreement(uneven(), other) == pytest.approx(3 / 4)
