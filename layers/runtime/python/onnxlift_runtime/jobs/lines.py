"""Cutting a stream of lines into parts that are each answered by themselves; pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from onnxlift_runtime.errors import PayloadTooLarge


@dataclass(frozen=True, slots=True)
class Cut:
    """Whole lines out of a larger file; ``first`` is the number of the first one, ``count`` how
    many there are.
    """

    body: bytes
    first: int
    count: int


def cut_lines(
    pieces: Iterable[bytes], part_bytes: int, part_lines: int, line_bytes: int
) -> Iterator[Cut]:
    """Whole lines in cuts of about ``part_bytes`` and at most ``part_lines``, however the pieces
    fall.

    Holds one cut and one piece at a time. A line longer than a cut is a cut of its own. Cuts that
    hold nothing but white space are left out, and depend on the bytes alone, so that cutting again
    gives the same. Raises ``PayloadTooLarge`` for a line above ``line_bytes``.
    """
    first = 1
    for body in _bodies(pieces, part_bytes, part_lines, line_bytes):
        lines = body.removesuffix(b"\n").split(b"\n")
        for number, line in enumerate(lines, first) if len(body) > line_bytes else ():
            _check_line(len(line), number, line_bytes)
        if body.strip():
            yield Cut(body, first, len(lines))
        first += len(lines)


def _bodies(
    pieces: Iterable[bytes], part_bytes: int, part_lines: int, line_bytes: int
) -> Iterator[bytes]:
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= part_bytes:
            end = _end_of_cut(waiting, part_bytes, part_lines)
            if not end and len(waiting) <= line_bytes:
                break
            yield _take(
                waiting, end or len(waiting)
            )  # a line that goes on beyond its limit is looked at as it is
    while waiting:
        yield _take(waiting, _end_of_lines(waiting, part_lines) or len(waiting))


def _take(waiting: bytearray, size_bytes: int) -> bytes:
    body = bytes(waiting[:size_bytes])
    del waiting[:size_bytes]
    return body


def _end_of_cut(waiting: bytearray, part_bytes: int, part_lines: int) -> int:
    """Behind the last line that ends within the cut, else behind the first that ends at all; 0: not
    there yet.
    """
    within = (
        _end_of_lines(waiting[:part_bytes], part_lines) or waiting.rfind(b"\n", 0, part_bytes) + 1
    )
    return within or waiting.find(b"\n", part_bytes) + 1


def _end_of_lines(waiting: bytearray, count: int) -> int:
    """Behind so many lines; 0 where there are not as many."""
    behind = waiting.split(b"\n", count)[count:]
    return len(waiting) - len(behind[0]) if behind else 0


def _check_line(size_bytes: int, number: int, line_bytes: int) -> None:
    if size_bytes > line_bytes:
        raise PayloadTooLarge(
            f"line {number} has more than {line_bytes} bytes; send less in one line"
        )
