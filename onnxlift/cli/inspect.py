"""``onnxlift inspect FILE``: what is in a model file, and what compressing it may bring."""

import json
from pathlib import Path

import click

from onnxlift.cli.options import json_option


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def command(file: Path, as_json: bool) -> None:
    """Show what is in a model FILE, and what may be compressed.

    Nothing is run and nothing is written. The sizes after compression are estimates; `onnxlift
    compress` measures.
    """
    from dataclasses import asdict

    from onnxlift.compress.inspect.inspection import (
        inspect,  # `--help` loads neither onnx nor numpy
    )
    from onnxlift.compress.results import plain

    found = inspect(file)
    if as_json:
        click.echo(json.dumps(plain(asdict(found)), indent=2))
        return
    from onnxlift.cli import screen
    from onnxlift.cli.contents import as_tables

    screen.show(as_tables(found), screen.FEWEST_COLUMNS)
