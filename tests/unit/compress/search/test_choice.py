"""The choice is pure: the smallest, fastest or cheapest that passes, and a reason for everyone
else.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift.compress.results import CandidateRow
from onnxlift.compress.search.choice import NOISE, WORTH, Goal, choose, usable
from onnxlift_runtime.errors import QualityGateFailed
from onnxlift_runtime.manifest import Latency
from tests.support.errors import raises


def _row(
    recipe: str, size_bytes: int, p50_ms: float | None = None, reason: str = "", **changes: Any
) -> CandidateRow:
    latency = (
        () if p50_ms is None else (Latency(1, p50_ms, p50_ms), Latency(8, 2 * p50_ms, 2 * p50_ms))
    )
    cost = None if p50_ms is None else p50_ms / 1000
    values = {"latency": latency, "cost_usd_per_1000": cost, **changes}
    return CandidateRow(recipe, (), "lost", reason, size_bytes, **values)


failed = st.builds(lambda name: CandidateRow(name, (), "failed", "it crashed"), st.uuids().map(str))
skipped = st.builds(
    lambda name: CandidateRow(name, (), "skipped", "not tried"), st.uuids().map(str)
)
finished = st.builds(
    _row,
    st.uuids().map(str),
    st.integers(1, 10**9),
    st.floats(0.01, 1e4),
    st.sampled_from(["", "it loses too much"]),
)
fields = st.lists(st.one_of(finished, failed, skipped), min_size=1, max_size=12)


def test_the_smallest_that_passes_wins() -> None:
    winner, _ = choose([_row("a", 100, reason="bad"), _row("b", 300), _row("c", 200)])

    assert (winner.recipe, winner.status, winner.reason) == (
        "c",
        "chosen",
        "the smallest of 2 that pass",
    )


@pytest.mark.parametrize("size_bytes", [901, 950, 1_000, 1_010])
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("goal", ["size", "latency", "cost"])
def test_fp32_wins_where_nothing_saves_a_tenth(size_bytes: int, order: int, goal: Goal) -> None:
    rows = [_row("fp32", 1_000, 1.0), _row("int8", size_bytes, 0.97)][::order]

    winner, explained = choose(rows, goal)

    assert winner.recipe == "fp32"
    assert explained[rows.index(rows[0]) if order == -1 else 1].reason.endswith(
        "fp32, which is preferred"
    )


@pytest.mark.parametrize(
    ("goal", "recipe"), [("size", "fp32"), ("latency", "int8"), ("cost", "int8")]
)
def test_what_is_clearly_faster_may_be_as_large_where_that_is_asked_for(
    goal: Goal, recipe: str
) -> None:
    winner, _ = choose([_row("fp32", 1_000, 1.0), _row("int8", 1_000, 0.9)], goal)

    assert winner.recipe == recipe


def test_what_is_much_slower_than_fp32_does_not_win_by_size() -> None:
    slow, fp32 = _row("slow", 170, 2.4, slowdown=2.4), _row("fp32", 1_000, 1.0)
    rows = [slow, _row("half", 500, 1.2, slowdown=1.2), fp32]

    winner, explained = choose(rows, "size", 1.5)

    assert (winner.recipe, winner.reason) == (
        "half",
        "the smallest of 3 that pass, 1.20 × the time of fp32",
    )
    assert explained[0].reason == "2.40 × the time of fp32, 1.5 × is allowed (max_slowdown)"
    assert choose(rows, "size", 2.5)[0].recipe == "slow"
    assert choose(rows, "size")[0].recipe == "slow"
    assert choose([slow, fp32], "size", 1.5)[0].reason == "no other is worth it"


def test_times_that_were_not_taken_in_turns_tell_only_what_is_far_beyond() -> None:
    fp32 = _row("fp32", 1_000, 1.0)

    assert choose([_row("a", 170, 2.9), fp32], "size", 1.5)[0].recipe == "a"
    assert choose([_row("a", 170, 3.1), fp32], "size", 1.5)[0].recipe == "fp32"


@pytest.mark.parametrize("size_bytes", [14_799, 14_800, 14_801])
def test_sizes_that_are_told_alike_are_told_as_equal(size_bytes: int) -> None:
    _, explained = choose([_row("a", 14_800), _row("b", size_bytes)])

    assert explained[1].reason == "as large as a, which is preferred"


def test_every_loser_gets_its_own_reason() -> None:
    crashed = CandidateRow("c", (), "failed", "RuntimeError: no")

    _, explained = choose(
        [_row("a", 100), _row("b", 50, reason="it falls"), crashed, _row("d", 400)]
    )

    assert [item.reason for item in explained] == [
        "the smallest of 2 that pass",
        "it falls",
        "RuntimeError: no",
        "400 B, a passes with 100 B",
    ]


def test_the_first_is_chosen_where_nothing_can_be_measured() -> None:
    rows = [_row("a", 100, reason="it falls"), _row("b", 300), _row("c", 50)]

    winner, explained = choose(rows, "preference")

    assert (winner.recipe, winner.reason) == ("b", "the preferred of 2 that pass")
    assert [item.reason for item in explained[::2]] == ["it falls", "b is preferred"]


def test_the_fastest_is_chosen_when_asked_for_and_size_decides_between_equals() -> None:
    rows = [_row("a", 100, 9.0), _row("b", 300, 3.0), _row("c", 200, 3.1), _row("d", 50)]

    winner, explained = choose(rows, "latency")

    assert winner.recipe == "c"
    assert explained[0].reason == "2.90 × the latency of c"
    assert explained[1].reason == "about the latency of c, which is smaller"
    assert explained[3].reason == "its latency was not measured"


def test_the_cheapest_is_chosen_when_asked_for() -> None:
    large = _row("a", 100, 10.0, cost_usd_per_1000=0.08)

    winner, _ = choose([large, _row("b", 300, 20.0)], "cost")

    assert winner.recipe == "b"


def test_no_winner_is_a_loud_failure_with_every_reason() -> None:
    with raises(QualityGateFailed, "a: it falls", "b: it crashed"):
        choose([_row("a", 100, reason="it falls"), CandidateRow("b", (), "failed", "it crashed")])


@given(fields)
def test_any_choice_passes_and_nothing_that_passes_is_much_smaller(
    rows: list[CandidateRow],
) -> None:
    able = [row for row in rows if usable(row)]
    if not able:
        with pytest.raises(QualityGateFailed):
            choose(rows)
        return

    winner, explained = choose(rows)

    assert winner.recipe in {row.recipe for row in able}
    assert all(row.size_bytes >= winner.size_bytes * (1 - WORTH) for row in able)
    assert [item.recipe for item in explained] == [row.recipe for row in rows]
    assert [item.recipe for item in explained if item.status == "chosen"] == [winner.recipe]
    assert all(item.reason for item in explained)


@given(fields, st.sampled_from(["latency", "cost"]))
def test_nothing_that_passes_is_much_better(rows: list[CandidateRow], optimize_for: Goal) -> None:
    able = [row for row in rows if usable(row)]
    if not able:
        return

    winner, _ = choose(rows, optimize_for)

    best = min(row.latency[0].p50_ms for row in able)
    assert winner.latency[0].p50_ms * (1 - NOISE) <= best or optimize_for == "cost"


@given(fields)
def test_the_choice_by_size_does_not_depend_on_timings(rows: list[CandidateRow]) -> None:
    untimed = [CandidateRow(r.recipe, (), r.status, r.reason, r.size_bytes) for r in rows]
    if not any(usable(row) for row in rows):
        return

    assert choose(rows)[0].recipe == choose(untimed)[0].recipe
