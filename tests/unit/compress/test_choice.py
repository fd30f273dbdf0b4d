"""The choice is pure: the smallest that passes, in order of preference, and a reason for everyone else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift.compress.choice import WORTH, Candidate, choose
from onnxlift_runtime.errors import QualityGateFailed
from onnxlift_runtime.manifest import Quality


def _candidate(recipe: str, size_bytes: int, measured: float = 1.0, reason: str = "") -> Candidate:
    return Candidate(recipe, size_bytes, Quality("accuracy", 1.0, measured, 0.01, 360), reason)


crashes = st.builds(Candidate, st.uuids().map(str), reason=st.just("it crashed"))
finished = st.builds(_candidate, st.uuids().map(str), st.integers(1, 10**9), st.floats(0.97, 1.0))
fields = st.lists(st.one_of(finished, crashes), min_size=1, max_size=12)


def test_the_smallest_that_passes_wins() -> None:
    winner, _ = choose([_candidate("a", 100, 0.5), _candidate("b", 300), _candidate("c", 200)])

    assert winner.recipe == "c"


def test_fp32_wins_where_nothing_saves_a_tenth() -> None:
    winner, explained = choose([_candidate("fp32", 1_000), _candidate("int8", 950)])

    assert winner.recipe == "fp32"
    assert explained[1].reason == "only 5% smaller than fp32, which is preferred"


def test_every_loser_gets_its_own_reason() -> None:
    crashed = Candidate("c", reason="RuntimeError: no")

    _, explained = choose([_candidate("a", 100), _candidate("b", 50, 0.9), crashed, _candidate("d", 400)])

    assert [item.reason for item in explained] == [
        "",
        "accuracy falls from 1 to 0.9 on 360 samples, by 0.1 where 0.01 is allowed",
        "RuntimeError: no",
        "4.00 × the size of a",
    ]


def test_no_winner_is_a_loud_failure_with_every_reason() -> None:
    with pytest.raises(QualityGateFailed, match=r"nothing was written: a: accuracy falls .*; b: it crashed"):
        choose([_candidate("a", 100, 0.9), Candidate("b", reason="it crashed")])


@given(fields)
def test_any_choice_passes_and_nothing_that_passes_is_much_smaller(candidates: list[Candidate]) -> None:
    usable = [item for item in candidates if item.usable]
    if not usable:
        with pytest.raises(QualityGateFailed):
            choose(candidates)
        return

    winner, explained = choose(candidates)

    assert winner in usable
    assert all(item.size_bytes >= winner.size_bytes * (1 - WORTH) for item in usable)
    assert [item.recipe for item in explained] == [item.recipe for item in candidates]
    assert [item.recipe for item in explained if not item.reason] == [winner.recipe]
