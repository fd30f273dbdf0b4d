"""Cutting a stream of lines into parts that are each answered by themselves; pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from onnxlift_runtime.errors import PayloadTooLarge


@dataclass(frozen=True, slots=True)
class Cut:
    """Whole lines out of a larger file; ``first`` is the number of the first one, ``count`` how many there are."""

    body: bytes
    first: int
    count: int


def cut_lines(pieces: Iterable[bytes], part_bytes: int, line_bytes: int) -> Iterator[Cut]:
    """Whole lines in cuts of about ``part_bytes``, however the pieces fall; holds one cut and one piece at a time.

    A line longer than a cut is a cut of its own. Cuts that hold nothing but white space are left out, and depend on the
    bytes alone, so that cutting again gives the same. Raises ``PayloadTooLarge`` for a line above ``line_bytes``.
    """
    first, waiting = 1, bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= part_bytes:
            end = _end_of_cut(waiting, part_bytes)
            if end is None:
                _check_line(len(waiting), first, line_bytes)
                break
            body = bytes(waiting[:end])
            del waiting[:end]
            count = body.count(b"\n")
            yield from _cut(body, first, count, line_bytes)
            first += count
    if waiting:
        yield from _cut(bytes(waiting), first, waiting.count(b"\n") + (not waiting.endswith(b"\n")), line_bytes)


def _end_of_cut(waiting: bytearray, part_bytes: int) -> int | None:
    """Behind the last line that ends within the cut, else behind the first that ends at all; None: not there yet."""
    end = waiting.rfind(b"\n", 0, part_bytes)
    if end < 0:
        end = waiting.find(b"\n", part_bytes)
    return None if end < 0 else end + 1


def _cut(body: bytes, first: int, count: int, line_bytes: int) -> Iterator[Cut]:
    if len(body) > line_bytes:  # one line, or the rest that never had an end
        _check_line(max(map(len, body.split(b"\n"))), first, line_bytes)
    if body.strip():
        yield Cut(body, first, count)


def _check_line(size_bytes: int, number: int, line_bytes: int) -> None:
    if size_bytes > line_bytes:
        raise PayloadTooLarge(f"line {number} has more than {line_bytes} bytes; send less in one line")
