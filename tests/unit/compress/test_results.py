"""Results as JSON: stable, strict, and read back as they were written; the figures that decide."""

import json
from dataclasses import replace

import pytest
from hypothesis import given

from onnxlift.compress.results import Figure, Limit, Report
from onnxlift_runtime.errors import ArtifactCorrupt
from tests.support.compress import findings


@given(findings.any_report())
def test_any_report_is_read_back_unchanged(report: Report) -> None:
    text = report.to_json()

    assert Report.from_json(text) == report
    assert Report.from_json(text).to_json() == text


def test_a_number_that_json_cannot_write_becomes_a_word() -> None:
    report = findings.report(seconds=float("nan"), budget_s=float("-inf"))

    data = json.loads(report.to_json())

    assert (data["seconds"], data["budget_s"]) == ("NaN", "-Infinity")
    assert Report.from_json(report.to_json()).budget_s == float("-inf")


def test_half_a_character_does_not_stop_the_report() -> None:
    report = findings.report(model="broken" + chr(0xDCFF))

    assert Report.from_json(report.to_json()).model == "broken?"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"status": "chosen"', '"status": "won"', "candidates.1.status"),
        ('"model"', '"modell"', "model"),
        ('"recipe": "fp32",', '"recipe": "fp32", "colour": 1,', "candidates.0.colour"),
        ('"schema_version": 1', '"schema_version": 2', "schema_version"),
        ('"schema_version": 1\n}', '"schema_version": 1', "Invalid JSON"),
    ],
)
def test_a_report_that_does_not_fit_is_refused_by_its_first_key(
    old: str, new: str, words: str
) -> None:
    text = findings.report().to_json()
    assert old in text

    with pytest.raises(ArtifactCorrupt) as caught:
        Report.from_json(text.replace(old, new))

    assert str(caught.value).startswith("report.json: ")
    assert words in str(caught.value)


def test_the_worst_figure_is_the_one_whose_bound_lost_most() -> None:
    limit = Limit("cosine", 1.0, 0.99)
    row = replace(findings.candidate("int8", 1, 0.99, 1.0), figures=findings.figures(0.99))

    worst = row.worst(limit)

    assert worst is not None
    assert worst.instruction_set == "avx2"
    assert row.worst(Limit("accuracy", 1.0, 0.9)) is None


def test_an_error_is_worse_where_it_is_larger() -> None:
    limit = Limit("max_error", 0.0, 0.1, larger_is_better=False)
    small, large = (
        Figure("max_error", value, value, 10, 1, name) for value, name in ((0.01, "a"), (0.2, "b"))
    )

    row = replace(findings.candidate("int8", 1, 1, 1.0), figures=(large, small))

    assert row.worst(limit) == large
    assert limit.loss(large.bound) == pytest.approx(0.2)


def test_no_candidate_is_chosen_where_none_passed() -> None:
    report = findings.report()

    none = replace(
        report, candidates=tuple(replace(row, status="lost") for row in report.candidates)
    )

    assert report.chosen is not None
    assert report.chosen.recipe == "int8-smooth"
    assert none.chosen is None
