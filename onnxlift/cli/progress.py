"""How far a search has come, on stderr."""

import contextlib
from collections.abc import Iterator
from time import monotonic
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from onnxlift.compress.search import run

LINE_EVERY_S: Final = 15.0


@contextlib.contextmanager
def progress_to(model: str, *, quiet: bool) -> Iterator[run.OnProgress]:
    """Whoever is told of each step of a search: a bar on a terminal, or else a line now and then,
    as a log wants.
    """
    console = Console(stderr=True)
    if quiet:
        yield lambda _state: None
    elif console.is_terminal:
        with _bar(model, console) as on_progress:
            yield on_progress
    else:
        yield _lines(model)


@contextlib.contextmanager
def _bar(model: str, console: Console) -> Iterator[run.OnProgress]:
    """A bar with the time used and the best so far, gone when it is finished.

    A narrow terminal cuts what is told last, not the times.
    """
    rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    columns = (
        TextColumn("{task.fields[name]}"),
        BarColumn(16),
        TimeElapsedColumn(),
        TextColumn("{task.fields[budget]}", style="dim"),
        TextColumn("{task.description}[green]{task.fields[best]}", table_column=rest),
    )
    with Progress(*columns, console=console, transient=True, expand=True) as bar:
        task = bar.add_task("", name=model, best="", budget="", total=None)

        def show(state: run.Progress) -> None:
            bar.update(task, description=state.doing, completed=state.done, total=state.total)
            bar.update(task, best=_best(state), budget=_budget(state))

        yield show


def _lines(model: str) -> run.OnProgress:
    began_s = told_s = monotonic()

    def tell(state: run.Progress) -> None:
        nonlocal told_s
        if monotonic() - told_s < LINE_EVERY_S:
            return
        told_s = monotonic()
        spent = " ".join(filter(None, (f"{told_s - began_s:.0f} s", _budget(state))))
        click.echo(
            f"{model}: {state.done} of {state.total} after {spent}: {state.doing}{_best(state)}",
            err=True,
        )

    return tell


def _best(state: run.Progress) -> str:
    return f", best: {state.best}" if state.best else ""


def _budget(state: run.Progress) -> str:
    return f"of {state.budget_s:.0f} s" if state.budget_s else ""
