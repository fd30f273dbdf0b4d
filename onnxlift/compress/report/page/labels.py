"""Where to write beside points so that no two words overlap; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Of the 12 px font that plots are written in, a little more than measured.
CHARACTER_WIDTH: Final = 6.6
LINE_HEIGHT: Final = 13.0
# From the point to the word in pixels, the most wished for first.
_AWAY: Final = (
    (9.0, 0.0),
    (-9.0, 0.0),
    (0.0, -13.0),
    (0.0, 13.0),
    (9.0, -12.0),
    (9.0, 12.0),
    (-9.0, -12.0),
    (-9.0, 12.0),
)
_REACHES: Final = (1.0, 2.0, 3.2)  # times as far; from the second on a line leads to the point


@dataclass(frozen=True, slots=True)
class Mark:
    """A point in pixels and the word that should stand beside it."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Label:
    """A word with the place of its baseline's start, middle or end, and whether a line must lead to
    its point.
    """

    mark: Mark
    x: float
    y: float
    anchor: str
    led: bool


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "_Box") -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def within(self, other: "_Box") -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


def place_labels(
    marks: Sequence[Mark], left: float, top: float, right: float, bottom: float
) -> tuple[Label, ...]:
    """Place the first marks' words first; a word that finds no free place inside the frame is left
    out.
    """
    frame = _Box(left, top, right, bottom)
    taken = [_Box(mark.x - 6, mark.y - 6, mark.x + 6, mark.y + 6) for mark in marks]
    placed = []
    for mark in marks:
        for label, box in _places(mark):
            if box.within(frame) and not any(box.meets(other) for other in taken):
                taken.append(box)
                placed.append(label)
                break
    return tuple(placed)


def _places(mark: Mark) -> list[tuple[Label, _Box]]:
    """Every place that may be tried, the nearest first."""
    return [
        _place(mark, dx * reach, dy * reach, led=reach > 1)
        for reach in _REACHES
        for dx, dy in _AWAY
    ]


def _place(mark: Mark, dx: float, dy: float, *, led: bool) -> tuple[Label, _Box]:
    width = len(mark.text) * CHARACTER_WIDTH
    x, y = mark.x + dx, mark.y + dy
    if dx > 0:
        anchor, left = "start", x
    elif dx < 0:
        anchor, left = "end", x - width
    else:
        anchor, left = "middle", x - width / 2
    box = _Box(left - 2, y - LINE_HEIGHT / 2, left + width + 2, y + LINE_HEIGHT / 2)
    return Label(mark, x, y + 4, anchor, led), box
