"""``onnxlift compress [MODEL]``: make artifacts."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from onnxlift.cli import summary
from onnxlift.cli.options import config_option, json_option
from onnxlift.compress import pipeline
from onnxlift.config import Config, load_config
from onnxlift.placement import place


@click.command(short_help="Compress models as hard as their quality limit allows.")
@click.argument("model", required=False)
@click.option("--recipe", metavar="NAME", help="Use this recipe instead of the configured one.")
@config_option
@json_option
def command(model: str | None, recipe: str | None, config_path: Path, as_json: bool) -> None:
    """Compress MODEL, or every configured model, as hard as its quality limit allows.

    Each recipe is judged on the held-out samples against the fp32 model; the smallest that passes becomes the artifact
    in the configuration's artifacts folder. Where none passes, nothing is written and the exit code is 1.
    """
    config = load_config(config_path)
    names = [model] if model else sorted(config.models)
    answers = []
    for name in names:
        with _progress(name, shown=not as_json) as progress:
            outcome = pipeline.compress(config, name, progress, recipe)
        if as_json:
            answers.append(summary.as_json(outcome, place(outcome.manifest, config.models[name].placement)))
        else:
            _tell(config, name, outcome)
    if as_json:
        click.echo(json.dumps({"models": answers}, indent=2))


def _tell(config: Config, name: str, outcome: pipeline.Outcome) -> None:
    summary.print_wide(Console(highlight=False), summary.as_tables(outcome))
    click.echo(f"placement: {place(outcome.manifest, config.models[name].placement)}\n")


@contextlib.contextmanager
def _progress(name: str, *, shown: bool) -> Iterator[pipeline.Progress]:
    """A bar on stderr, gone when it is finished; nothing where stderr is no terminal."""
    columns = (TextColumn("{task.fields[name]}"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as bar:
        task = bar.add_task("", name=name, total=None)

        def show(doing: str, done: int, total: int) -> None:
            bar.update(task, description=doing, completed=done, total=total)

        yield show
