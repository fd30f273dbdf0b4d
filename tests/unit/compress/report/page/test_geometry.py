"""What stands where on a plot: the frontier, the scales, and words that do not overlap."""

import math
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift.compress.report.page.frontier import Point, frontier
from onnxlift.compress.report.page.labels import (
    CHARACTER_WIDTH,
    LINE_HEIGHT,
    Label,
    Mark,
    place_labels,
)
from onnxlift.compress.report.page.scale import Losses, Straight

_HAIR = 1e-6  # pixels that rounding may add
_numbers = st.floats(0, 100, allow_nan=False)
_points = st.lists(
    st.builds(Point, st.just(1), st.just("a"), _numbers, _numbers, _numbers, st.just("lost")),
    max_size=12,
)
_pixels = st.floats(0, 500)


def _beats(first: Point, second: Point) -> bool:
    """No worse on both axes, and better on one."""
    return (
        first.cost <= second.cost
        and first.bound <= second.bound
        and (first.cost, first.bound) != (second.cost, second.bound)
    )


@given(_points)
def test_nothing_beats_the_frontier(points: list[Point]) -> None:
    best = frontier(points)

    assert not [point for point in best for other in points if _beats(other, point)]


@given(_points)
def test_what_is_not_on_the_frontier_is_equalled_or_beaten_by_it(points: list[Point]) -> None:
    best = frontier(points)

    for point in points:
        assert any(other.cost <= point.cost and other.bound <= point.bound for other in best)


@given(_points)
def test_the_frontier_gets_better_with_cost(points: list[Point]) -> None:
    for cheap, dear in pairwise(frontier(points)):
        assert cheap.cost < dear.cost
        assert cheap.bound > dear.bound


@given(st.lists(st.floats(1e-9, 1e15), min_size=1, max_size=5))
def test_costs_lie_within_the_plot_and_keep_their_order(values: list[float]) -> None:
    scale = Straight.over(values, 60, 500)

    places = [scale.place(value) for value in sorted(values)]

    assert places == sorted(places)
    assert places[0] >= 60
    assert places[-1] <= 500
    assert 2 <= len(scale.ticks()) <= 7
    assert max(scale.ticks()) <= scale.top


@given(st.lists(st.floats(-1, 1e6) | st.sampled_from([math.inf, math.nan]), max_size=6))
def test_losses_lie_within_the_plot(values: list[float]) -> None:
    scale = Losses.over(values, 40, 60, 300)

    assert all(scale.zero <= scale.place(value) <= scale.far + 1e-6 for value in values)
    assert 2 <= len(scale.ticks()) <= 6


def test_a_decade_of_loss_is_as_long_everywhere() -> None:
    scale = Losses.over([0.001, 0.05], 40, 60, 300)

    first, second, third = (scale.place(value) for value in (0.001, 0.01, 0.1))

    assert (first, third) == (60, 300)
    assert second == pytest.approx(180)
    assert scale.place(0) == scale.place(-1) == 40
    assert scale.place(math.nan) == scale.place(math.inf) == 300


def _box(label: Label) -> tuple[float, float, float, float]:
    width = len(label.mark.text) * CHARACTER_WIDTH
    left = label.x - {"start": 0, "middle": width / 2, "end": width}[label.anchor]
    middle = label.y - 4
    return left, middle - LINE_HEIGHT / 2, left + width, middle + LINE_HEIGHT / 2


@given(
    st.lists(
        st.builds(Mark, _pixels, _pixels, st.sampled_from(["1", "12", "3 int8-smooth"])),
        max_size=15,
    )
)
def test_words_neither_overlap_nor_leave_the_plot(marks: list[Mark]) -> None:
    boxes = [_box(label) for label in place_labels(marks, 0, 0, 500, 500)]

    for first, second in combinations(boxes, 2):
        beside = first[2] <= second[0] + _HAIR or second[2] <= first[0] + _HAIR
        assert beside or first[3] <= second[1] + _HAIR or second[3] <= first[1] + _HAIR
    assert all(
        left >= 0 and top >= 0 and right <= 500 and bottom <= 500
        for left, top, right, bottom in boxes
    )


def test_the_first_word_gets_the_place_beside_its_point() -> None:
    labels = place_labels([Mark(100, 100, "first"), Mark(101, 101, "second")], 0, 0, 500, 500)

    assert (labels[0].anchor, labels[0].x, labels[0].led) == ("start", 109, False)
    assert len(labels) == 2
