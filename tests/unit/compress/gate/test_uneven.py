"""Answers of different shapes: stored without pickles, and measured sample by sample."""

from pathlib import Path

import numpy as np
import pytest

from onnxlift.compress.gate.bootstrap import estimate
from onnxlift.compress.gate.judgement import agreement, require_numbers
from onnxlift.compress.gate.uneven import as_rows
from onnxlift.compress.model.answers import (
    is_uneven,
    join_answers,
    load_answers,
    save_answers,
    together,
)
from onnxlift.compress.model.batch import Batch
from onnxlift_runtime.errors import QualityGateFailed, SamplesInvalid
from tests.support.builders import spec
from tests.support.errors import raises
from tests.support.signatures import numbers

SHAPES = [(3, 6), (0, 6), (1, 6), (3, 6)]


def uneven(shift: float = 0.0) -> np.ndarray:
    return together([numbers(shape, row) + np.float32(shift) for row, shape in enumerate(SHAPES)])


def test_answers_are_stored_and_read_again(tmp_path: Path) -> None:
    scalars = together([np.array(1.0), np.array(2.0)])
    answers = {"a/b": uneven(), "even": numbers((4, 2)), "scalars": scalars}

    save_answers(tmp_path / "a.npz", answers)
    again = load_answers(tmp_path / "a.npz")

    assert {name: is_uneven(array) for name, array in again.items()} == {
        "a/b": True, "even": False, "scalars": False,
    }  # fmt: skip
    for name, array in answers.items():
        assert [np.asarray(item).tolist() for item in again[name]] == [
            np.asarray(item).tolist() for item in array
        ]


def test_rows_are_gathered_from_their_axis_and_whole_results_as_they_are() -> None:
    steps = spec("steps", "FP32", (-1, -1, 3))
    runs = [{"steps": numbers((5, rows, 3), rows)} for rows in (2, 1)]

    joined = join_answers(runs, [steps], "steps", 3, Batch({"steps": 1}))["steps"]
    whole = join_answers(runs, [steps], "steps", 2, Batch())["steps"]
    single = join_answers(
        [{"y": numbers((1, 4))}] * 2, [spec("y", "FP32", (1, 4))], "y", 2, Batch()
    )

    assert joined.shape == (3, 5, 3)
    np.testing.assert_array_equal(joined[2], runs[1]["steps"][:, 0])
    assert [answer.shape for answer in whole] == [(5, 2, 3), (5, 1, 3)]
    assert single["y"].shape == (2, 4)


def test_an_output_without_rows_is_left_out_where_samples_run_together() -> None:
    specs = [spec("y", "FP32", (-1, 2)), spec("total", "FP32", ())]
    runs = [{"y": numbers((rows, 2)), "total": np.float32(rows)} for rows in (2, 1)]
    results = [{name: np.asarray(array) for name, array in run.items()} for run in runs]

    found = join_answers(results, specs, "y", 3, Batch({"y": 0}))

    assert list(found) == ["y"]


def test_channels_are_looked_at_over_the_rows_of_all_samples() -> None:
    first, second = as_rows(uneven(), uneven())
    other = as_rows(uneven(), together([item[:1] for item in uneven()]))

    assert first.shape == second.shape == (7, 6)
    assert not other[0].size


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

    require_numbers(uneven(), "y")
    with pytest.raises(QualityGateFailed):
        require_numbers(broken, "y")


def test_agreement_is_the_mean_of_the_samples() -> None:
    other = uneven()
    other[0] = other[0][:2]

    assert agreement(uneven(), uneven()) == pytest.approx(1.0)
    assert agreement(uneven(), other) == pytest.approx(3 / 4)
