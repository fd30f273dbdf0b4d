"""Which items run together: nothing is lost, doubled, reordered within its key, too large or left
waiting.
"""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gpu_fallback.pipeline.batcher import Batch, Batcher

MAX_ROWS = 8
MAX_WAIT_MS = 10.0


@dataclass(frozen=True)
class Offered:
    """One item: when it comes after the one before, its key and its rows."""

    number: int
    pause_ms: int
    key: str
    rows: int


def offers() -> st.SearchStrategy[list[Offered]]:
    made = st.tuples(
        st.integers(0, 2 * int(MAX_WAIT_MS)), st.sampled_from("abc"), st.integers(1, MAX_ROWS + 2)
    )
    return st.lists(made, max_size=60).map(
        lambda items: [Offered(number, *item) for number, item in enumerate(items)]
    )


def run(
    items: list[Offered], takes: list[bool]
) -> tuple[list[tuple[float, Batch[Offered]]], dict[int, float]]:
    """Offer all items, look after some of them, then until nothing waits; when each batch was
    taken, and offered.
    """
    batcher: Batcher[Offered] = Batcher(MAX_WAIT_MS)
    now_ms, taken, offered = 0.0, [], {}
    for item, take in zip(items, takes, strict=True):
        now_ms += item.pause_ms
        batcher.offer(item.key, item, item.rows, MAX_ROWS, now_ms)
        offered[item.number] = now_ms
        while take and (batch := batcher.take(now_ms)):
            taken.append((now_ms, batch))
    while (due_ms := batcher.due_ms()) is not None:
        now_ms = max(now_ms, due_ms)
        batch = batcher.take(now_ms)
        assert batch is not None, "what is due can be taken"
        taken.append((now_ms, batch))
    assert len(batcher) == 0
    return taken, offered


@given(st.data())
def test_every_item_is_given_once_in_its_keys_order_and_within_the_rows(
    data: st.DataObject,
) -> None:
    items = data.draw(offers())
    takes = data.draw(st.lists(st.booleans(), min_size=len(items), max_size=len(items)))

    taken, _ = run(items, takes)

    given_items = [item for _, batch in taken for item in batch.items]
    assert sorted(item.number for item in given_items) == list(range(len(items)))
    for key in "abc":
        numbers = [item.number for item in given_items if item.key == key]
        assert numbers == sorted(numbers)
    for _, batch in taken:
        assert len({item.key for item in batch.items}) == 1
        assert batch.rows == sum(item.rows for item in batch.items)
        assert batch.rows <= MAX_ROWS or len(batch.items) == 1


@given(offers())
def test_no_item_waits_longer_than_it_may_for_one_who_looks_in_time(items: list[Offered]) -> None:
    batcher: Batcher[Offered] = Batcher(MAX_WAIT_MS)
    now_ms = 0.0
    offered: dict[int, float] = {}

    for item in items:
        coming_ms = now_ms + item.pause_ms
        while (due_ms := batcher.due_ms()) is not None and due_ms <= coming_ms:
            now_ms = max(now_ms, due_ms)
            batch = batcher.take(now_ms)
            assert batch is not None
            assert all(now_ms - offered[found.number] <= MAX_WAIT_MS for found in batch.items)
        now_ms = coming_ms
        offered[item.number] = now_ms
        batcher.offer(item.key, item, item.rows, MAX_ROWS, now_ms)


@given(offers(), st.integers(0, 50))
def test_a_batch_that_is_neither_full_nor_due_is_not_given(
    items: list[Offered], later_ms: int
) -> None:
    batcher: Batcher[Offered] = Batcher(MAX_WAIT_MS)
    for item in items:
        batcher.offer(item.key, item, item.rows, MAX_ROWS, 0.0)

    batch = batcher.take(later_ms)

    if batch is not None and later_ms < MAX_WAIT_MS:
        # Full: the next item of its key did not fit, or it reached the bound.
        following = [
            item
            for item in items
            if item.key == batch.items[0].key and item.number > batch.items[-1].number
        ]
        assert batch.rows >= MAX_ROWS or batch.rows + following[0].rows > MAX_ROWS


def test_the_oldest_batch_comes_first_whatever_its_key() -> None:
    batcher: Batcher[str] = Batcher(MAX_WAIT_MS)
    batcher.offer("rare", "first", 1, MAX_ROWS, 0.0)
    for number in range(4):
        batcher.offer("often", f"full {number}", MAX_ROWS, MAX_ROWS, 1.0)

    before, after = batcher.take(5.0), batcher.take(MAX_WAIT_MS)

    assert before is not None
    assert before.items == ["full 0"]
    assert after is not None
    assert after.items == ["first"]


def test_a_batch_grows_while_nobody_takes_it() -> None:
    batcher: Batcher[int] = Batcher(MAX_WAIT_MS)

    for number in range(MAX_ROWS):
        batcher.offer("a", number, 1, MAX_ROWS, number * MAX_WAIT_MS)

    batch = batcher.take(MAX_ROWS * MAX_WAIT_MS)
    assert batch is not None
    assert batch.items == list(range(MAX_ROWS))


def test_clear_gives_everything_and_leaves_nothing() -> None:
    batcher: Batcher[int] = Batcher(MAX_WAIT_MS)
    for number in range(20):
        batcher.offer(number % 3, number, 3, MAX_ROWS, 0.0)

    cleared = batcher.clear()

    assert sorted(cleared) == list(range(20))
    assert (len(batcher), batcher.due_ms(), batcher.take(1e9)) == (0, None, None)
