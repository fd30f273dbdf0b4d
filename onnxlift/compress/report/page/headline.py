"""The top of the page: what was chosen, and how small, how good and how fast it is."""

from onnxlift.compress.report.page.markup import Element, code, element
from onnxlift.compress.results import CandidateRow, Figure, Limit, Report
from onnxlift.units import milliseconds, ratio, size
from onnxlift_runtime.manifest import Latency


def headline(report: Report) -> Element:
    """Title, one sentence, tiles, and the sentences a reader must know."""
    chosen = report.chosen
    tiles = _tiles(report, chosen) if chosen else []
    return element(
        "header",
        element("h1", code(report.model), f" version {report.version}"),
        element("p", *_sentence(report), class_="lead"),
        element("div", *tiles, class_="tiles") if tiles else None,
        *(element("p", note, class_="note") for note in report.notes),
    )


def _sentence(report: Report) -> list[Element | str]:
    measured = sum(1 for row in report.candidates if row.figures)
    tried = f"Measured: {measured} of {len(report.candidates)} candidates."
    if report.chosen is None:
        return [
            f"No recipe keeps the model within its quality limit, and nothing was written. {tried}"
        ]
    if not report.chosen.steps:
        return [f"The model ships as it came, in fp32: no recipe earned its place. {tried}"]
    return [
        "Chosen: ",
        code(report.chosen.recipe),
        f", optimised for {report.optimize_for}. {tried}",
    ]


def _tiles(report: Report, chosen: CandidateRow) -> list[Element]:
    tiles = [
        _tile(
            "size",
            size(chosen.size_bytes),
            f"{ratio(chosen.size_bytes, report.source.size_bytes)} of "
            f"{size(report.source.size_bytes)}",
        )
    ]
    tiles.extend(
        _quality(limit, found) for limit in report.limits if (found := chosen.worst(limit))
    )
    if chosen.latency:
        tiles.append(_latency(chosen.latency[0], report.source.latency))
    if chosen.load_ms is not None and chosen.peak_memory_mb is not None:
        tiles.append(
            _tile(
                "load", milliseconds(chosen.load_ms), f"peak memory {chosen.peak_memory_mb:.0f} MiB"
            )
        )
    return tiles


def _quality(limit: Limit, found: Figure) -> Element:
    side = "at least" if limit.larger_is_better else "at most"
    sure = f" with {limit.confidence:.0%} confidence" if limit.confidence else ""
    return _tile(
        limit.metric,
        f"{found.measured:.4f}",
        f"{side} {found.bound:.4f}{sure}; allowed {limit.allowed:.4f}, fp32 {limit.reference:.4f}",
    )


def _latency(found: Latency, source: tuple[Latency, ...]) -> Element:
    before = next((item for item in source if item.batch_size == found.batch_size), None)
    share = (
        f"{ratio(found.p50_ms, before.p50_ms)} of fp32's {milliseconds(before.p50_ms)}; "
        if before
        else ""
    )
    return _tile(
        f"latency, batch {found.batch_size}",
        milliseconds(found.p50_ms),
        f"{share}p95 {milliseconds(found.p95_ms)}",
    )


def _tile(what: str, figure: str, beside: str) -> Element:
    return element(
        "div",
        element("span", what, class_="what"),
        element("strong", figure),
        element("span", beside, class_="quiet"),
        class_="tile",
    )
