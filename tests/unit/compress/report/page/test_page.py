"""The page for people: one file without scripts or requests, whose names cannot break out, that
says what counts.
"""

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Final
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxlift.compress.report.page import draw
from onnxlift.compress.results import (
    CandidateRow,
    LayerSize,
    NodeSensitivity,
    PrecisionError,
    Report,
)
from tests.support.compress import findings

HOSTILE: Final = (
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title><svg onload=alert(1)>",
    "]]><script>alert(1)</script><!--",
    "javascript:alert(1)",
    "\u202egnp.exe\x00\x1b[31m" + chr(0xDCFF),
    "&lt;b&gt; &amp; &quot;",
)
HARMLESS: Final = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "header",
        "section",
        "div",
        "figure",
        "span",
    ),
    *(
        "h1",
        "h2",
        "h3",
        "p",
        "b",
        "strong",
        "small",
        "code",
        "ul",
        "li",
        "dl",
        "dt",
        "dd",
        "details",
        "summary",
    ),
    *("table", "caption", "thead", "tbody", "tr", "th", "td"),
    *("svg", "desc", "g", "line", "text", "rect", "path", "circle"),
}


class _Reader(HTMLParser):
    """Collects tags and attributes as a browser would see them, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader


def _text(page: str) -> str:
    return " ".join(" ".join(_read(page).text).split())


@settings(max_examples=40)
@given(findings.any_report(st.sampled_from(HOSTILE)))
def test_hostile_names_stay_text(report: Report) -> None:
    page = draw(report)

    reader = _read(page)
    assert reader.tags <= HARMLESS
    assert not {
        name
        for name in reader.attributes
        if name.startswith("on") or name in ("src", "href", "style")
    }
    page.encode("utf-8")


@settings(max_examples=40)
@given(findings.any_report())
def test_any_report_can_be_drawn(report: Report) -> None:
    assert draw(report).endswith("</html>\n")


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.isprintable()])
def test_a_hostile_name_is_shown_as_it_is(name: str) -> None:
    assert " ".join(name.split()) in _text(draw(findings.report(model=name)))


def test_the_page_asks_for_nothing_and_runs_nothing() -> None:
    page = draw(findings.report())

    assert "default-src 'none'" in page
    assert not re.search(r"https?://|@import|url\(|<script|<link", page)


def test_the_page_says_what_was_chosen_and_what_it_costs() -> None:
    text = _text(draw(findings.report()))

    for words in (
        "Chosen: int8-smooth , optimised for size",
        "Measured: 3 of 5 candidates",
        "23.2 MB",
        "× 0.26 of 90.4 MB",
        "at least 0.9965 with 95% confidence; allowed 0.9900, fp32 1.0000",
        "× 0.46 of fp32's 13.1 ms",
        "not verified on neoverse-n1: qemu-aarch64 is missing",
    ):
        assert words in text


def test_every_candidate_has_its_row_and_its_reason() -> None:
    report = findings.report()

    text = _text(draw(report))

    for row in report.candidates:
        assert row.recipe in text
        assert row.reason in text
        assert all(step in text for step in row.steps)


def test_candidates_without_figures_stand_beside_the_plots() -> None:
    text = _text(draw(findings.report()))

    beside = text.split("Not on the plots")[1].split("All candidates")[0]
    assert "int8-static : RuntimeError: ragged samples" in beside
    assert "int2 : predicted error 0.5" in beside


def test_the_page_says_where_its_figures_come_from() -> None:
    report = findings.report()

    text = _text(draw(report))

    for words in (
        findings.SHA,
        "onnxruntime 1.31.1",
        report.machine.cpu,
        "600 samples",
        "avx2, avx512_vnni",
        "214 s of",
    ):
        assert words in text


def test_the_page_says_that_fp32_ships() -> None:
    report = findings.report()
    rows = tuple(replace(row, status="lost") for row in report.candidates)

    text = _text(draw(replace(report, candidates=(replace(rows[0], status="chosen"), *rows[1:]))))

    assert "ships as it came, in fp32" in text


def test_the_page_says_that_nothing_passed() -> None:
    report = findings.report()

    text = _text(
        draw(
            replace(
                report, candidates=tuple(replace(row, status="lost") for row in report.candidates)
            )
        )
    )

    assert "No recipe keeps the model within its quality limit" in text


def test_every_drawing_is_described_in_words() -> None:
    page = draw(findings.report())

    drawings = [
        ET.fromstring(found)
        for found in re.findall(r"<svg(?=[^>]*role=\"img\").*?</svg>", page, re.DOTALL)
    ]
    assert len(drawings) == 2
    for drawing in drawings:
        named = drawing.attrib["aria-labelledby"].split()
        words = {part.attrib["id"]: part.text for part in drawing if part.tag in ("title", "desc")}
        assert set(named) == set(words)
        assert "Chosen: int8-smooth" in str(words[named[1]])


def test_each_measured_candidate_is_on_both_plots_with_its_figures_on_hover() -> None:
    page = draw(findings.report())

    for recipe in ("fp32", "int8-smooth", "int4"):
        assert len(re.findall(rf"<title>\d\. {recipe}: ", page)) == 2


def test_a_huge_model_still_gives_a_small_page() -> None:
    rows = tuple(
        findings.candidate(f"recipe-{number}", 20 + number, 0.99, 5.0) for number in range(60)
    )
    nodes = tuple(
        NodeSensitivity(
            f"/block.{number}/{'x' * 200}",
            "MatMul",
            f"block.{number}",
            1,
            (PrecisionError("int8", number),),
        )
        for number in range(5_000)
    )
    layers = tuple(LayerSize(f"block.{number}", "MatMul", number, 1) for number in range(5_000))

    page = draw(findings.report(candidates=rows, sensitivity=nodes, layers=layers))

    assert len(page.encode()) < 300_000
    assert "… and 4960 more nodes" in _text(page)
    assert "block.4999" in page


def test_a_report_of_nothing_but_a_failure_can_be_drawn() -> None:
    failed = CandidateRow("int8", (), "failed", "boom")

    page = draw(findings.report(candidates=(failed,), sensitivity=(), layers=(), limits=()))

    assert "boom" in page
    assert "svg" not in _read(page).tags
