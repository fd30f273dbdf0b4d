"""``onnxlift plan``: where each model runs and why, and what it costs a month."""

import json
from pathlib import Path

import click

from onnxlift.cli.options import config_option, json_option
from onnxlift.config import load_config

LEVELS = (10_000, 1_000_000, 10_000_000)


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@config_option
@click.option(
    "--requests",
    "levels",
    type=click.IntRange(1),
    multiple=True,
    default=LEVELS,
    metavar="NUMBER",
    help="Requests a month to count with; give it several times.  [default: 10000, 1000000, "
    "10000000]",
)
@json_option
def command(
    models: tuple[str, ...], config_path: Path, levels: tuple[int, ...], as_json: bool
) -> None:
    """Show where each model runs, why, and what it costs a month.

    The figures come from the measurements of `compress` and from a dated file of prices. Nothing is
    deployed, and no network is used.
    """
    from datetime import UTC, datetime

    from onnxlift.cost.plan import make_plan  # `--help` reads no manifest
    from onnxlift.cost.prices import read_prices

    found = make_plan(
        load_config(config_path), models, read_prices(), levels, datetime.now(UTC).date()
    )
    if as_json:
        click.echo(json.dumps(found.as_document(), indent=2))
        return
    from onnxlift.cli import screen
    from onnxlift.cli.costs import as_tables

    screen.show(as_tables(found))
