"""How many messages a worker may hold, and who may end one."""

from hypothesis import given
from hypothesis import strategies as st

from gpu_fallback.messages.in_flight import AHEAD_S, MAX_HELD_BYTES, MOST_AHEAD, Holding, Holdings
from onnxlift_runtime.aws.queues import Message
from onnxlift_runtime.jobs.job import Job, Payload


def holding(size_bytes: int = 0) -> Holding:
    payload = Payload({}, "", size_bytes, None, "b", "k")
    job = Job("j", "me", "tiny", "1", payload, created_ms=0, expires_ms=1)
    return Holding(Message("q", "r", "j", 1), 0.0, job)


@given(st.integers(1, 64), st.integers(0, 400), st.floats(0, 10_000))
def test_room_is_told_in_lots_worth_a_call_and_never_beyond_the_capacity(
    rows: int, held: int, rate: float
) -> None:
    holdings = Holdings(rows)
    holdings.expect(rate)
    for _ in range(held):
        holdings.add(holding())

    room = holdings.wait_for_room(0)

    assert holdings.capacity <= 3 * rows + min(MOST_AHEAD, rate * AHEAD_S)
    assert room == 0 or held + room <= holdings.capacity
    assert room == 0 or room >= min(10, rows)


def test_slow_inferences_hold_no_more_than_three_batches() -> None:
    holdings = Holdings(1)

    holdings.expect(1 / 600)

    assert holdings.capacity == 3


def test_large_payloads_leave_no_room_until_they_are_gone() -> None:
    holdings, large = Holdings(8), holding(MAX_HELD_BYTES)
    holdings.add(large)

    before = holdings.wait_for_room(0)
    holdings.remove(large)

    assert (before, holdings.wait_for_room(0)) == (0, 24)


def test_arrays_of_uploads_which_no_payload_tells_leave_no_room_either() -> None:
    holdings, large = Holdings(8), holding()
    holdings.add(large)
    before = holdings.wait_for_memory(0)

    large.arrays_bytes = MAX_HELD_BYTES

    assert (before, holdings.wait_for_memory(0), holdings.wait_for_room(0)) == (True, False, 0)


def test_what_is_being_ended_stays_kept_until_it_has_ended() -> None:
    holdings, item = Holdings(8), holding()
    holdings.add(item)
    holdings.close(item)
    before = holdings.kept()

    item.ended = True

    assert (before, holdings.kept()) == ([item], [])


def test_only_one_may_end_a_holding() -> None:
    holdings, item = Holdings(8), holding()
    holdings.add(item)

    assert [holdings.close(item), holdings.close(item)] == [True, False]
    assert holdings.snapshot() == []
    assert len(holdings) == 1
