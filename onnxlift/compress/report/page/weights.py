"""Where the bytes are and where they may be saved: sensitivity by node, size by layer and by
operator.
"""

from collections.abc import Callable, Iterable
from typing import Final

from onnxlift.compress.report.page.markup import Element, code, element
from onnxlift.compress.report.page.tables import bar, cell, number, rest, row, table
from onnxlift.compress.results import LayerSize, NodeSensitivity, Report
from onnxlift.units import NOTHING, ratio, size, three_digits

_MOST_ROWS: Final = 40
_SEEN: Final = 0.001  # of the longest bar; less could not be told from nothing


def sensitivity(report: Report) -> Element | None:
    """The nodes that lose most when they alone are compressed, the worst first."""
    if not report.sensitivity:
        return None
    precisions = tuple(
        dict.fromkeys(item.precision for node in report.sensitivity for item in node.errors)
    )
    nodes = sorted(
        report.sensitivity, key=lambda node: max((item.error for item in node.errors), default=0.0)
    )[::-1]
    largest = {name: max(_error(node, name) or 0.0 for node in nodes) for name in precisions}
    shown = nodes[:_MOST_ROWS]
    return element(
        "section",
        element("h2", "Sensitivity by node"),
        element(
            "p",
            "The error of the answers when this node alone is brought to the precision. Bars share "
            "one scale within "
            "a column.",
            class_="quiet",
        ),
        table(
            "Sensitivity by node",
            ("node", "operator", "#size", *precisions),
            (_sensitivity_row(node, precisions, largest) for node in shown),
        ),
        rest(len(shown), len(nodes), "nodes"),
    )


def sizes(report: Report) -> Element | None:
    """Bytes before and after, by layer and by operator."""
    if not report.layers:
        return None
    return element(
        "section",
        element("h2", "Size of the weights"),
        _sizes("By layer", "layer", report.layers, lambda item: item.layer),
        _sizes("By operator", "operator", report.layers, lambda item: item.operator),
    )


def _sensitivity_row(
    node: NodeSensitivity, precisions: Iterable[str], largest: dict[str, float]
) -> Element:
    return row(
        cell(code(node.node), element("small", node.layer)),
        cell(node.operator),
        number(size(node.size_bytes)),
        *(cell(_error_bar(_error(node, name), largest[name])) for name in precisions),
    )


def _error(node: NodeSensitivity, precision: str) -> float | None:
    return next((item.error for item in node.errors if item.precision == precision), None)


def _error_bar(error: float | None, largest: float) -> Element | str:
    if error is None:
        return NOTHING
    return bar(error / largest if largest > 0 else 0.0, three_digits(error), "error")


def _sizes(
    caption: str, head: str, layers: Iterable[LayerSize], key: Callable[[LayerSize], str]
) -> Element:
    totals: dict[str, tuple[int, int]] = {}
    for item in layers:
        before, after = totals.get(key(item), (0, 0))
        totals[key(item)] = (before + item.before_bytes, after + item.after_bytes)
    groups = sorted(totals.items(), key=lambda group: max(group[1]), reverse=True)
    largest = max((max(both) for both in totals.values()), default=0) or 1
    shown = [group for group in groups if max(group[1]) >= largest * _SEEN][:_MOST_ROWS]
    rows = (_size_row(name, before, after, largest) for name, (before, after) in shown)
    return element(
        "div",
        element("h3", caption),
        table(f"Size of the weights {caption.lower()}", (head, "before and after", "#ratio"), rows),
        rest(len(shown), len(groups), f"{head}s"),
    )


def _size_row(name: str, before: int, after: int, largest: int) -> Element:
    return row(
        cell(code(name) if name else "(no name)"),
        cell(
            bar(before / largest, size(before), "before"),
            bar(after / largest, size(after), "after"),
        ),
        number(ratio(after, before)),
    )
