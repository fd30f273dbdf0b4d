"""Tables that scroll on a small screen, and bars inside their cells."""

from collections.abc import Iterable, Sequence

from onnxlift.compress.report.page.markup import Content, Element, element


def table(caption: str, heads: Sequence[str], rows: Iterable[Element]) -> Element:
    """A table with a caption for those who listen; heads that start with ``#`` stand over
    numbers.
    """
    cells = [
        element("th", head.lstrip("#"), scope="col", class_="number" if head[:1] == "#" else None)
        for head in heads
    ]
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            element("thead", element("tr", *cells)),
            element("tbody", *rows),
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def row(*cells: Element, class_: str | None = None, id_: str | None = None) -> Element:
    """A row of ready cells."""
    return element("tr", *cells, class_=class_, id=id_)


def cell(*content: Content) -> Element:
    """A cell with words."""
    return element("td", *content)


def number(*content: Content) -> Element:
    """A cell with a number, aligned to the right."""
    return element("td", *content, class_="number")


def bar(share: float, text: str, style: str = "after") -> Element:
    """A bar of ``share`` (0 to 1) with its value written beside it."""
    width = min(max(share, 0.0), 1.0) * 100
    drawing = element(
        "svg",
        element("rect", class_=style, width=max(width, 0.4 if share > 0 else 0.0), height=10),
        class_="bar",
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return element("span", drawing, element("span", text, class_="value"), class_="barred")


def rest(shown: int, total: int, what: str) -> Element | None:
    """Says how much a table leaves out, None where it leaves out nothing."""
    if total <= shown:
        return None
    return element(
        "p", f"… and {total - shown} more {what}; report.json holds all.", class_="quiet"
    )
