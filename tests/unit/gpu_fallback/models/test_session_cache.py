"""What stays open within a budget: the recently used, all that is in use, and one at the least."""

import threading
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from gpu_fallback.models.session_cache import SessionCache
from tests.support.errors import raises

WAIT_S = 10


def borrow(loaded: SessionCache[str], key: str, cost_mb: float = 1) -> str:
    with loaded.borrow(key, cost_mb, lambda: key.upper()) as item:
        return item


def test_the_least_recently_used_goes_first() -> None:
    gone: list[Hashable] = []
    loaded: SessionCache[str] = SessionCache(3, gone.append)

    for key in ("a", "b", "c", "a", "d"):
        assert borrow(loaded, key) == key.upper()

    assert gone == ["b"]
    assert loaded.keys == ("c", "a", "d")


def test_without_a_budget_everything_stays() -> None:
    loaded: SessionCache[str] = SessionCache(0)

    for number in range(20):
        borrow(loaded, f"{number}", 1e6)

    assert len(loaded.keys) == 20


def test_what_costs_more_than_the_budget_has_it_alone() -> None:
    loaded: SessionCache[str] = SessionCache(3)
    borrow(loaded, "a")

    borrow(loaded, "large", 100)

    assert loaded.keys == ("large",)


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 5)), max_size=30),
    st.integers(1, 10),
)
def test_the_budget_holds_for_any_order_of_use(uses: list[tuple[str, int]], budget_mb: int) -> None:
    loaded: SessionCache[str] = SessionCache(budget_mb)
    costs: dict[Hashable, int] = {}

    for key, cost_mb in uses:
        known = key in loaded.keys
        borrow(loaded, key, cost_mb)
        costs[key] = costs[key] if known else cost_mb

        assert loaded.keys[-1] == key
        assert len(loaded.keys) == 1 or sum(costs[found] for found in loaded.keys) <= budget_mb


def test_what_is_in_use_stays_and_others_wait_for_its_room() -> None:
    loaded: SessionCache[str] = SessionCache(1)
    order: list[str] = []

    def use_other() -> None:
        borrow(loaded, "b")
        order.append("b opened")

    with loaded.borrow("a", 1, lambda: "A"):
        other = threading.Thread(target=use_other)
        other.start()
        while len(loaded.keys) < 2:
            pass
        order.append("a used")
    other.join(WAIT_S)

    assert order == ["a used", "b opened"]
    assert loaded.keys == ("b",)


def test_one_thread_opens_what_many_ask_for() -> None:
    loaded: SessionCache[str] = SessionCache(10)
    opened: list[str] = []
    gate = threading.Event()

    def open_item() -> str:
        gate.wait(WAIT_S)
        opened.append("a")
        return "A"

    def use(_number: int) -> str:
        with loaded.borrow("a", 1, open_item) as item:
            return item

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(use, number) for number in range(4)]
        gate.set()
        items = [found.result(WAIT_S) for found in asked]

    assert (items, opened) == (["A"] * 4, ["a"])


def test_others_go_on_while_one_is_opened() -> None:
    loaded: SessionCache[str] = SessionCache(10)
    began, gate = threading.Event(), threading.Event()

    def open_slowly() -> str:
        began.set()
        gate.wait(WAIT_S)
        return "SLOW"

    def use_slow() -> str:
        with loaded.borrow("slow", 1, open_slowly) as item:
            return item

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(use_slow)
        assert began.wait(WAIT_S)
        assert borrow(loaded, "b") == "B"
        gate.set()
        assert slow.result(WAIT_S) == "SLOW"


def test_two_that_do_not_fit_together_are_opened_one_after_the_other() -> None:
    loaded: SessionCache[str] = SessionCache(3)

    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(
                lambda number: borrow(loaded, "abcd"[number % 4], 2), range(80), timeout=WAIT_S
            )
        )

    assert found == ["ABCD"[number % 4] for number in range(80)]
    assert len(loaded.keys) == 1


def test_what_cannot_be_opened_takes_no_room_and_is_tried_again() -> None:
    loaded: SessionCache[str] = SessionCache(1)

    def fail() -> str:
        raise ValueError("no")

    with raises(ValueError, "no"), loaded.borrow("a", 1, fail):
        pass

    assert loaded.keys == ()
    assert borrow(loaded, "a") == "A"


def test_only_what_nobody_uses_is_dropped() -> None:
    loaded: SessionCache[str] = SessionCache(0)
    borrow(loaded, "idle")

    with loaded.borrow("used", 1, lambda: "USED"):
        first, second = loaded.drop_idle(), loaded.drop_idle()

    assert (first, second, loaded.keys) == (True, False, ("used",))
