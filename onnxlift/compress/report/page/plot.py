"""A plot of cost against quality: every measured candidate, the frontier nobody beats, and the
limit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from onnxlift.compress.report.page.frontier import Point, frontier
from onnxlift.compress.report.page.labels import Mark, place_labels
from onnxlift.compress.report.page.markup import Element, element
from onnxlift.compress.report.page.scale import Losses, Straight
from onnxlift.units import three_digits

_WIDTH: Final = 560
_HEIGHT: Final = 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 548.0, 34.0, 332.0
_NEAR: Final = 62.0  # where the decades begin, below the row of those that lose nothing
_RADIUS: Final = 4.5


@dataclass(frozen=True, slots=True)
class Plot:
    """What to draw: ``allowed`` is the largest loss of ``metric`` that passes, ``say`` writes a
    cost with its unit.
    """

    key: str
    title: str
    cost: str
    metric: str
    allowed: float
    points: tuple[Point, ...]
    say: Callable[[float], str]

    def draw(self) -> Element:
        """The plot as SVG, described in words for those who cannot see it."""
        across = Straight.over([point.cost for point in self.points], _LEFT, _RIGHT)
        losses = [loss for point in self.points for loss in (point.loss, point.bound)]
        down = Losses.over([*losses, self.allowed], _TOP + 8, _NEAR, _BOTTOM)
        best = frontier(self.points)
        return element(
            "svg",
            element("title", self.title, id=f"{self.key}-title"),
            element("desc", self._description(best), id=f"{self.key}-desc"),
            self._grid(across, down),
            self._limit(down),
            _staircase(best, across, down),
            *(self._mark(point, across, down) for point in sorted(self.points, key=_is_chosen)),
            *_written(self._marks(best, across, down)),
            viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
            role="img",
            aria_labelledby=f"{self.key}-title {self.key}-desc",
        )

    def _description(self, best: Sequence[Point]) -> str:
        steps = "; ".join(
            f"{point.name}: {self.say(point.cost)}, loss {three_digits(point.bound)}"
            for point in best
        )
        chosen = next((point.name for point in self.points if point.status == "chosen"), "none")
        return (
            f"{len(self.points)} candidates, {self.cost} to the right, loss of {self.metric} "
            f"downwards; allowed: "
            f"{three_digits(self.allowed)}. Chosen: {chosen}. The frontier: {steps or 'none'}. "
            "The table of candidates holds every figure."
        )

    def _grid(self, across: Straight, down: Losses) -> Element:
        rows = [(_TOP + 8, "0"), *((down.place(tick), _loss(tick)) for tick in down.ticks())]
        columns = [
            (across.place(tick), _round(self.say(tick)) if tick else "0") for tick in across.ticks()
        ]
        return element(
            "g",
            *(element("line", class_="grid", x1=_LEFT, x2=_RIGHT, y1=y, y2=y) for y, _ in rows),
            *(element("line", class_="grid", x1=x, x2=x, y1=_TOP, y2=_BOTTOM) for x, _ in columns),
            *(
                element("text", text, class_="tick", x=_LEFT - 8, y=y + 4, text_anchor="end")
                for y, text in rows
            ),
            *(
                element("text", text, class_="tick", x=x, y=_BOTTOM + 18, text_anchor="middle")
                for x, text in columns
            ),
            element(
                "text", f"{self.cost} →", class_="axis", x=_RIGHT, y=_HEIGHT - 8, text_anchor="end"
            ),
            element("text", f"↓ {self.metric} lost", class_="axis", x=4, y=16),
        )

    def _limit(self, down: Losses) -> Element:
        y = down.place(self.allowed)
        return element(
            "g",
            element(
                "rect",
                class_="beyond",
                x=_LEFT,
                y=y,
                width=_RIGHT - _LEFT,
                height=max(_BOTTOM - y, 0.0),
            ),
            element("line", class_="limit", x1=_LEFT, x2=_RIGHT, y1=y, y2=y),
            element(
                "text",
                f"limit {_loss(self.allowed)}",
                class_="limit-text",
                x=_RIGHT - 4,
                y=y - 5,
                text_anchor="end",
            ),
        )

    def _mark(self, point: Point, across: Straight, down: Losses) -> Element:
        x, y, end = across.place(point.cost), down.place(point.loss), down.place(point.bound)
        hover = (
            f"{point.number}. {point.name}: {self.say(point.cost)}, {self.metric} lost "
            f"{three_digits(point.loss)}, at most {three_digits(point.bound)}"
        )
        style = "over" if point.bound > self.allowed else "within"
        if _is_chosen(point):
            style = "chosen"
        return element(
            "g",
            element("title", hover),
            element("line", class_="whisker", x1=x, x2=x, y1=y, y2=end),
            _symbol(style, x, y),
            class_=f"mark {style}",
        )

    def _marks(self, best: Sequence[Point], across: Straight, down: Losses) -> list[Mark]:
        """The chosen one first, by name; then those on the frontier; then the rest by their number
        alone.
        """

        def order(point: Point) -> tuple[bool, bool]:
            return (not _is_chosen(point), point not in best)

        return [
            Mark(
                across.place(point.cost),
                down.place(point.loss),
                f"{point.number} {point.name}"[:34] if _is_chosen(point) else str(point.number),
            )
            for point in sorted(self.points, key=order)
        ]


def _is_chosen(point: Point) -> bool:
    """What is drawn last, over the others, and written first."""
    return point.status == "chosen"


def _round(text: str) -> str:
    """Ticks are round: their zeros behind the point say nothing."""
    amount, unit = text.split(" ")
    if "." in amount:
        amount = amount.rstrip("0").rstrip(".")
    return f"{amount} {unit}"


def _loss(value: float) -> str:
    return f"{value:.10f}".rstrip("0").rstrip(".") if value >= 1e-5 else f"{value:.0e}"


def _staircase(best: Sequence[Point], across: Straight, down: Losses) -> Element | None:
    """The frontier: from each step to the next at the same loss, then up to the better one."""
    places = [(across.place(point.cost), down.place(point.bound)) for point in best]
    if not places:
        return None
    path = f"M{places[0][0]:.1f} {places[0][1]:.1f}" + "".join(
        f"H{x:.1f}V{y:.1f}" for x, y in places[1:]
    )
    return element("path", class_="frontier", d=f"{path}H{_RIGHT:.1f}")


def _symbol(style: str, x: float, y: float) -> Element:
    """A diamond for the chosen one, a dot within the limit, a ring beyond it: shapes, because
    colours alone are few.
    """
    if style == "chosen":
        reach = _RADIUS * 1.8
        return element(
            "path",
            d=f"M{x:.1f} {y - reach:.1f}l{reach} {reach}l{-reach} {reach}l{-reach} {-reach}z",
        )
    return element("circle", cx=x, cy=y, r=_RADIUS)


def _written(marks: Sequence[Mark]) -> list[Element]:
    """The words beside the points, and the lines that lead to those that stand far off."""
    parts = []
    for label in place_labels(marks, _LEFT, _TOP - 12, _RIGHT, _BOTTOM):
        x, y = label.x, label.y
        if label.led:
            near, far = label.mark, {"x2": x, "y2": y - 4}
            parts.append(element("line", class_="leader", x1=near.x, y1=near.y, **far))
        parts.append(
            element("text", label.mark.text, class_="label", x=x, y=y, text_anchor=label.anchor)
        )
    return parts
