"""What the commands print, for narrow terminals and for programs."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click
import numpy as np
import pytest
from rich.table import Table

from onnxlift.cli import outputs, screen, summary
from onnxlift.client import Answer
from onnxlift.compress.pipeline import Comparison
from onnxlift.compress.results import CandidateRow
from onnxlift.compress.search.outcome import Outcome
from onnxlift.placement import Placement
from tests.support import builders
from tests.support.compress import findings

LONG_NAME = "int8-smooth-mix8-tables4"


def _outcome(*rows: CandidateRow) -> Outcome:
    manifest = builders.manifest()
    return Outcome(
        Path("artifacts/minilm/1"),
        manifest,
        manifest.measurements,
        findings.report(candidates=rows),
    )


def _strictly(text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def _on_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", str(columns))


def test_a_recipe_is_named_whole_on_a_terminal_of_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = (
        "cosine falls from 1 to 0.98 (bound 0.97) on 600 samples, by 0.03 where 0.01 is "
        "allowed (avx2, batch 32)"
    )
    outcome = _outcome(findings.candidate(LONG_NAME, 17.9, 0.98, 6.0, reason=reason))
    _on_a_terminal(monkeypatch, 80)

    screen.show(summary.as_tables(outcome, Placement("gpu", 0, "the configuration asks for it")))

    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert any(line.startswith(f"{LONG_NAME} ") for line in lines)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(("axes", "rows", "line"), [
    ({"x": 0, "state": 1}, 256, "batch in dimension: x 0, state 1"),
    ({"x": 0}, 0, "batch in dimension: x 0; its size is fixed"),
    ({}, 0, "no batch: each request is one inference, never joined with another"),
])  # fmt: skip
def test_what_counts_rows_is_told(
    capsys: pytest.CaptureFixture[str], axes: dict[str, int], rows: int, line: str
) -> None:
    outcome = _outcome(findings.candidate("int8", 17.9, 0.98, 6.0))
    manifest = replace(outcome.manifest, batch_axes=axes, max_batch_size=rows)

    screen.show(
        summary.as_tables(replace(outcome, manifest=manifest), Placement("lambda", 1769, "fits"))
    )

    assert line in click.unstyle(capsys.readouterr().out)


def test_a_narrow_terminal_cuts_no_number_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table("requests a month", "evenly", "one burst a day")
    table.add_row("10,000,000", "$1,234,436.38", "$1,234,075.54")
    _on_a_terminal(monkeypatch, 24)

    screen.show(table)

    shown = click.unstyle(capsys.readouterr().out)
    assert {"10,000,000", "$1,234,436.38", "$1,234,075.54"} <= set(shown.split())


@pytest.mark.parametrize("figure", [math.inf, math.nan])
def test_figures_without_end_are_words_in_json(figure: float) -> None:
    row = findings.candidate("float16", 45.0, figure, 6.0)
    word = "NaN" if math.isnan(figure) else "Infinity"

    one = _strictly(json.dumps(summary.as_json(_outcome(row), Placement("gpu", 0, "asked for"))))
    several = _strictly(json.dumps(summary.comparison_as_json(Comparison((row,), ()), "minilm")))

    assert [found["candidates"][0]["figures"][0]["measured"] for found in (one, several)] == [
        word,
        word,
    ]


def test_outputs_without_end_are_null_in_json() -> None:
    answer = Answer("m", "1", {"y": np.array([[1.5, np.nan, np.inf]], np.float32)}, {"y": "FP32"})

    document = _strictly(outputs.as_json(answer, as_classes=False))

    assert document == {"model": "m", "version": "1", "outputs": {"y": [[1.5, None, None]]}}


def test_no_line_ends_in_blanks_where_the_output_is_a_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = Table("a", "b", box=None)
    table.add_row("one", "")
    table.add_row("two", "something longer")

    screen.show(table)

    shown = capsys.readouterr().out.splitlines()
    assert [line.split() for line in shown] == [["a", "b"], ["one"], ["two", "something", "longer"]]
    assert [line for line in shown if line != line.rstrip()] == []
