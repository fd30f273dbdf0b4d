"""A day as a picture: jobs that wait, and the workers that there are."""

from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

from onnxlift.compress.report.page.markup import Element, element

_WIDTH, _LEFT, _RIGHT = 740, 70.0, 710.0
_BANDS: Final = ((30.0, 150.0), (190.0, 270.0))
_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#333}path{fill:none;stroke-width:1.5}"
    ".grid{stroke:#ddd}.waiting{stroke:#b35900}.tasks{stroke:#0060a8}"
)


def draw(waiting: Sequence[int], tasks: Sequence[int]) -> str:
    """The picture as SVG, of one figure a minute each."""
    minutes = max(len(waiting), len(tasks))
    title = (
        f"A day with GPU workers: up to {max(waiting)} jobs wait, up to {max(tasks)} workers run"
    )
    picture = element(
        "svg",
        element("style", _STYLE),
        element("title", title),
        element("rect", width=str(_WIDTH), height="300", fill="#fff"),
        *(_hour(hour, minutes) for hour in range(0, 25, 4)),
        *_band("jobs that wait", "waiting", waiting, _BANDS[0], minutes),
        *_band("workers", "tasks", tasks, _BANDS[1], minutes),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH} 300",
        role="img",
    )
    return ET.tostring(picture, encoding="unicode")


def _band(
    name: str, key: str, figures: Sequence[int], place: tuple[float, float], minutes: int
) -> tuple[Element, Element, Element]:
    """One figure over the day: its name, its most, and its course in steps."""
    (top, bottom), most = place, max(figures)
    points = [
        (_across(number, minutes), bottom - (bottom - top) * figure / most)
        for number, figure in _turns(figures)
    ]
    course = "".join(f"H{x:.1f}V{y:.1f}" for x, y in points)
    return (
        element("text", name, x="4", y=f"{top - 8:.0f}"),
        element("text", f"{most:,}", x=f"{_LEFT - 6:.0f}", y=f"{top + 4:.0f}", text_anchor="end"),
        element("path", d=f"M{_LEFT:.1f},{bottom:.1f}{course}H{_RIGHT:.1f}", class_=key),
    )


def _turns(figures: Sequence[int]) -> list[tuple[int, int]]:
    """The minutes at which a figure changes."""
    return [
        (number, each)
        for number, each in enumerate(figures)
        if not number or each != figures[number - 1]
    ]


def _hour(hour: int, minutes: int) -> Element:
    x = f"{_across(hour * 60, max(minutes, 24 * 60)):.1f}"
    line = element("path", d=f"M{x},{_BANDS[0][0]}V{_BANDS[1][1]}", class_="grid")
    return element("g", line, element("text", f"{hour}:00", x=x, y="290", text_anchor="middle"))


def _across(minute: int, minutes: int) -> float:
    return _LEFT + (_RIGHT - _LEFT) * minute / max(minutes, 24 * 60)
