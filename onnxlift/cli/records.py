"""Jobs for people: one line each, a table of many, and a line that changes while one waits."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnxlift.client import JobRecord

MIN_WIDTH: Final = 110


def show_table(records: Iterable[JobRecord]) -> None:
    """Print one row for each job."""
    table = Table(box=None, pad_edge=False)
    for name in ("job", "status", "model", "created (UTC)", "took"):
        table.add_column(name, no_wrap=True)
    table.add_column("error")
    for record in records:
        took = f"{record.finished_ms - record.created_ms:,} ms" if record.finished_ms else ""
        row = (record.id, record.status, record.model, _time(record.created_ms), took, record.error)
        table.add_row(*map(escape, row))
    # An id is there to be copied: rather a wide line than half an id.
    Console(width=max(Console().width, MIN_WIDTH)).print(table)


def show_one(record: JobRecord) -> None:
    """Print what is known of one job, one fact on each line."""
    console = Console(highlight=False, soft_wrap=True)
    for name, value in _plain(record).items():
        fact = f"{_time(int(str(value)))} UTC" if name.endswith("_ms") else str(value)
        console.print(f"{name.removesuffix('_ms'):16} {fact}", markup=False)


def as_json(records: Iterable[JobRecord]) -> str:
    """One JSON list of jobs, with what is known of each."""
    return json.dumps([_plain(record) for record in records])


def one_as_json(record: JobRecord) -> str:
    """One JSON object."""
    return json.dumps(_plain(record))


@contextmanager
def status_line() -> Iterator[Callable[[JobRecord], None]]:
    """A line on stderr that says where a job is; where stderr is no terminal, one line for each
    change.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    started, last = time.monotonic(), ""
    if console.is_terminal:
        with console.status("submitting") as line:
            yield lambda record: line.update(
                f"{describe(record)}, {time.monotonic() - started:.1f} s"
            )
        return

    def tell(record: JobRecord) -> None:
        nonlocal last
        if record.status != last:
            last = record.status
            console.print(describe(record), markup=False)

    yield tell


def describe(record: JobRecord) -> str:
    """Where a job is, in one line."""
    if record.position > 0:
        return f"job {record.id} {record.status}, {record.position} ahead of it"
    return f"job {record.id} {record.status}"


def _plain(record: JobRecord) -> dict[str, object]:
    """What is known of a job: a position of 0 is, it is the next one."""
    return {
        item.name: value
        for item in fields(record)
        if (value := getattr(record, item.name)) != item.default
    }


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
