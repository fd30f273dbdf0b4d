"""Every candidate: on the plots, in one table with the reason why it lost, and with all its
figures.
"""

from collections.abc import Callable
from typing import Final

from onnxlift.compress.report.page.frontier import Point
from onnxlift.compress.report.page.markup import Element, code, element
from onnxlift.compress.report.page.plot import Plot
from onnxlift.compress.report.page.tables import cell, number, row, table
from onnxlift.compress.results import CandidateRow, Limit, Report
from onnxlift.units import NOTHING, milliseconds, ratio, size, three_digits

# Bytes or milliseconds; a cost beyond would leave no room for the others.
_LEAST, _MOST = 1e-9, 1e15
_LONGEST_STEP: Final = 72
_WORDS: Final = {"chosen": "chosen", "lost": "lost", "failed": "failed", "skipped": "not tried"}


def plots(report: Report) -> Element | None:
    """Size and latency against quality, and beside them those that could not be drawn."""
    if not report.limits:
        return None
    limit = report.limits[0]
    batch = min((item.batch_size for line in report.candidates for item in line.latency), default=1)
    sizes = _plot(report, limit, "size", "size", lambda line: float(line.size_bytes) or None, size)
    times = _plot(
        report,
        limit,
        "latency",
        f"p50, batch {batch}",
        lambda line: _p50(line, batch),
        milliseconds,
    )
    drawn = [element("figure", plot.draw()) for plot in (sizes, times) if plot.points]
    if not drawn:
        return None
    return element(
        "section",
        element("h2", "What size and speed cost in quality"),
        element("div", *drawn, class_="plots"),
        element("p", *_legend(), class_="quiet"),
        _missing(report, {point.number for point in sizes.points}),
    )


def candidates(report: Report) -> Element:
    """One row for each candidate, in the order of the search."""
    heads = ("#", "recipe", "outcome", "#size", "#quality", "#p50", "#load", "#$ per 1000", "why")
    rows = (
        _row(report, position, line) for position, line in enumerate(report.candidates, start=1)
    )
    return element(
        "section",
        element("h2", "All candidates"),
        element(
            "p",
            "Quality is the worst figure over instruction sets and batch sizes, with its bound in "
            "brackets; the bound "
            "is what the limit is held to. Under the time to load stands the peak memory.",
            class_="quiet",
        ),
        table("All candidates and why each loser lost", heads, rows),
        _figures(report),
    )


def _plot(
    report: Report,
    limit: Limit,
    key: str,
    cost: str,
    cost_of: Callable[[CandidateRow], float | None],
    say: Callable[[float], str],
) -> Plot:
    points = tuple(
        Point(
            position,
            line.recipe,
            found,
            limit.loss(figure.measured),
            limit.deciding_loss(figure),
            line.status,
        )
        for position, line in enumerate(report.candidates, start=1)
        if (found := cost_of(line)) is not None
        and _LEAST < found < _MOST
        and (figure := line.worst(limit)) is not None
    )
    title = f"{cost.capitalize()} and loss of {limit.metric}"
    return Plot(key, title, cost, limit.metric, max(limit.loss(limit.allowed), 0.0), points, say)


def _p50(line: CandidateRow, batch: int) -> float | None:
    return next((item.p50_ms for item in line.latency if item.batch_size == batch), None)


def _legend() -> list[Element | str]:
    return [
        element("b", "◆"),
        " chosen  ",
        element("b", "●"),
        " within the limit  ",
        element("b", "○"),
        " beyond it. A point is the measured loss, the line down from it its bound; the steps join "
        "the candidates that "
        "no other beats. Numbers are those of the table below.",
    ]


def _missing(report: Report, shown: set[int]) -> Element | None:
    """Candidates without figures, beside the plots with their reasons."""
    items = [
        element("li", f"{position} ", code(line.recipe), f": {line.reason or _WORDS[line.status]}")
        for position, line in enumerate(report.candidates, start=1)
        if position not in shown
    ]
    if not items:
        return None
    return element("div", element("h3", "Not on the plots"), element("ul", *items))


def _row(report: Report, position: int, line: CandidateRow) -> Element:
    return row(
        number(str(position)),
        element("td", code(line.recipe), *_steps(line), class_="recipe"),
        cell(element("span", _WORDS[line.status], class_=f"badge {line.status}")),
        number(*_size(report, line)),
        number(*_quality(report, line)),
        number(*_latencies(line)),
        number(*_load(line)),
        number(NOTHING if line.cost_usd_per_1000 is None else three_digits(line.cost_usd_per_1000)),
        element("td", line.reason, *_aside(line), class_="why"),
        class_=line.status,
    )


def _steps(line: CandidateRow) -> list[Element]:
    """One line for each step; a list of nodes in its settings shows in full on hover."""
    return [_step(step) for step in line.steps] or [element("small", "as it came")]


def _step(step: str) -> Element:
    if len(step) <= _LONGEST_STEP:
        return element("small", step)
    return element("small", f"{step[: _LONGEST_STEP - 1]}…", title=step[:2000])


def _size(report: Report, line: CandidateRow) -> list[Element | str]:
    if not line.size_bytes:
        return [NOTHING]
    packed = [] if line.gzip_bytes is None else [element("small", f"gzip {size(line.gzip_bytes)}")]
    return [
        size(line.size_bytes),
        element("small", ratio(line.size_bytes, report.source.size_bytes)),
        *packed,
    ]


def _load(line: CandidateRow) -> list[Element | str]:
    shown: list[Element | str] = [NOTHING if line.load_ms is None else milliseconds(line.load_ms)]
    if line.peak_memory_mb is not None:
        shown.append(element("small", f"{line.peak_memory_mb:.0f} MiB"))
    return shown


def _quality(report: Report, line: CandidateRow) -> list[Element | str]:
    parts: list[Element | str] = []
    for limit in report.limits:
        figure = line.worst(limit)
        if figure is None:
            continue
        over = limit.deciding_loss(figure) > limit.loss(limit.allowed) + 1e-9
        shown = f"{figure.measured:.4f} ({figure.bound:.4f})"
        parts.append(element("span", shown, class_="over" if over else None))
        parts.append(element("small", limit.metric))
    return parts or [NOTHING]


def _latencies(line: CandidateRow) -> list[Element | str]:
    """The smallest batch in full size, the others below it."""
    if not line.latency:
        return [NOTHING]
    first, *others = line.latency
    shown = element("span", milliseconds(first.p50_ms), title=f"p95 {milliseconds(first.p95_ms)}")
    small = [
        f"batch {first.batch_size}",
        *(f"batch {item.batch_size}: {milliseconds(item.p50_ms)}" for item in others),
    ]
    return [shown, *(element("small", text) for text in small)]


def _aside(line: CandidateRow) -> list[Element]:
    """What else is known about a candidate, in small print."""
    told = [
        f"agrees to {item.measured:.4f} on {item.instruction_set} ({item.road})"
        for item in line.agreement
    ]
    if line.predicted_error is not None:
        told.append(f"predicted error {three_digits(line.predicted_error)}")
    if line.cached:
        told.append("taken over from an earlier run")
    elif line.seconds:
        told.append(f"{line.seconds:.1f} s")
    return [element("small", text) for text in told]


def _figures(report: Report) -> Element:
    heads = ("recipe", "metric", "instruction set", "#batch", "#measured", "#bound", "#samples")
    rows = (
        row(
            cell(code(line.recipe)),
            cell(figure.metric),
            cell(figure.instruction_set),
            number(str(figure.batch_size)),
            number(f"{figure.measured:.6f}"),
            number(f"{figure.bound:.6f}"),
            number(str(figure.samples)),
        )
        for line in report.candidates
        for figure in line.figures
    )
    return element(
        "details",
        element("summary", "Every figure, by instruction set and batch size"),
        table("Every figure of every candidate", heads, rows),
    )
