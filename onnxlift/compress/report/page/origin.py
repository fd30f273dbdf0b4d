"""What a reader needs to make the same run again: hashes, versions, limits, machine."""

from collections.abc import Iterable

from onnxlift.compress.report.page.markup import Content, Element, code, element
from onnxlift.compress.results import Limit, Report
from onnxlift.units import size


def origin(report: Report) -> Element:
    """A list of facts; each value stands as it was recorded."""
    return element(
        "section",
        element("h2", "Where these figures come from"),
        element("dl", *(part for name, values in _facts(report) for part in _fact(name, values))),
    )


def _facts(report: Report) -> list[tuple[str, list[Content]]]:
    machine = report.machine
    facts: list[tuple[str, list[Content]]] = [
        ("source", [code(report.source.sha256), f" {size(report.source.size_bytes)}"])
    ]
    facts += [
        (entry.path, [code(entry.sha256), f" {size(entry.size_bytes)}"]) for entry in report.files
    ]
    facts += [
        (f"{item.role} samples", [code(item.sha256), f" {item.count} samples, ", code(item.file)])
        for item in report.samples
    ]
    return [
        *facts,
        ("opset", [str(report.opset)]),
        ("limits", ["; ".join(_limit(limit) for limit in report.limits)]),
        ("search", [_search(report)]),
        ("instruction sets", [", ".join(report.targets)]),
        (
            "machine",
            [f"{machine.cpu}, {machine.architecture}, {_count(machine.threads, 'thread')}"],
        ),
        ("versions", [f"onnxlift {machine.onnxlift}, onnxruntime {machine.onnxruntime}"]),
        ("finished", [report.finished_at]),
    ]


def _fact(name: str, values: Iterable[Content]) -> list[Element]:
    kept = [value for value in values if value is not None and value != ""]
    return [element("dt", name), element("dd", *kept)] if kept else []


def _limit(limit: Limit) -> str:
    side = "at least" if limit.larger_is_better else "at most"
    sure = f", {limit.confidence:.0%} one-sided confidence" if limit.confidence else ""
    return f"{limit.metric} {side} {limit.allowed:.6g} (fp32: {limit.reference:.6g}){sure}"


def _search(report: Report) -> str:
    budget = f" of {report.budget_s:g} s allowed" if report.budget_s else ""
    return f"{report.seconds:.0f} s{budget}, optimised for {report.optimize_for}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
