"""Cutting lines: nothing is lost, whatever the pieces are and however long the lines."""

from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.errors import PayloadTooLarge
from onnxlift_runtime.jobs.lines import cut_lines
from tests.support.errors import raises

TEXT = st.lists(st.sampled_from([b"", b" ", b"a", b"bb" * 9, b"c" * 40])).map(b"\n".join)


@given(TEXT, st.lists(st.integers(1, 60)), st.integers(1, 50), st.integers(1, 9))
def test_cuts_hold_every_line_once_in_order_with_its_number(
    text: bytes, sizes: list[int], part_bytes: int, part_lines: int
) -> None:
    cuts = list(cut_lines(_pieces(text, sizes), part_bytes, part_lines, 100))

    numbered = dict(enumerate(text.split(b"\n"), 1))
    found = {
        cut.first + index: line
        for cut in cuts
        for index, line in enumerate(cut.body.split(b"\n"))
        if line
    }
    assert {number: line for number, line in found.items() if line.strip()} == {
        number: line for number, line in numbered.items() if line.strip()
    }
    assert all(len(cut.body) <= part_bytes or cut.body.strip().count(b"\n") == 0 for cut in cuts)
    assert all(
        cut.count == len(cut.body.removesuffix(b"\n").split(b"\n")) <= part_lines for cut in cuts
    )


@given(TEXT, st.lists(st.integers(1, 60)), st.integers(1, 50))
def test_cuts_depend_on_the_bytes_alone(text: bytes, sizes: list[int], part_bytes: int) -> None:
    whole = list(cut_lines([text], part_bytes, 5, 100))

    assert list(cut_lines(_pieces(text, sizes), part_bytes, 5, 100)) == whole


@given(st.lists(st.integers(1, 60)), st.integers(1, 50), st.booleans())
def test_a_line_above_the_limit_is_refused_by_its_number(
    sizes: list[int], part_bytes: int, ended: bool
) -> None:
    text = b"a\nb\n" + b"c" * 101 + (b"\nd" if ended else b"")

    with raises(PayloadTooLarge, "line 3", 100):
        list(cut_lines(_pieces(text, sizes), part_bytes, 5, 100))


def _pieces(text: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    return [*pieces, text[at:]]
