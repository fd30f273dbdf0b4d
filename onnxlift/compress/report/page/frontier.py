"""Which candidates nobody beats on both axes; pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate on a plot: its cost (size or latency), what it loses of the metric, and the
    bound of that loss.
    """

    number: int
    name: str
    cost: float
    loss: float
    bound: float
    status: str


def frontier(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points that no other equals or beats in both cost and bound of the loss, from the
    cheapest on.
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda item: (item.cost, item.bound)):
        if not kept or point.bound < kept[-1].bound:
            kept.append(point)
    return tuple(kept)
