"""``onnxlift add FILE``: write the table of a model into the configuration."""

import json
import re
from pathlib import Path
from typing import Final

import click

from onnxlift.cli.options import config_option, json_option

_NEW: Final = "service = {}\n"


@click.command(short_help="Write the table of a model FILE into the configuration.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="The model's name; by default from the file's name.")
@config_option
@json_option
def command(file: Path, name: str | None, config_path: Path, as_json: bool) -> None:
    """Write the table of a model FILE into the configuration.

    What the file says is written as comments, and so is what remains to be filled in. The
    configuration is made where there is none.
    """
    from onnxlift.compress.inspect.table import name_of, table_of
    from onnxlift.config import load_config
    from onnxlift_runtime.errors import ConfigInvalid

    name = name or name_of(file)
    begun = config_path.exists()
    if begun and name in load_config(config_path).models:
        raise ConfigInvalid(f"{config_path}: has a model {name!r} already; choose another --name")
    table = table_of(file, name, _relative(file, config_path.resolve().parent))
    before = config_path.read_text("utf-8-sig") if begun else _NEW.format(_service(config_path))
    unfinished = config_path.with_name(f".{config_path.name}.part")
    unfinished.write_text(f"{before.rstrip()}\n\n{table}", "utf-8")
    try:
        load_config(unfinished)
        unfinished.replace(config_path)
    finally:
        unfinished.unlink(missing_ok=True)
    if as_json:
        click.echo(json.dumps({"model": name, "config": str(config_path), "table": table}))
        return
    click.echo(f"{table}\nwritten to {config_path}; next: onnxlift compress {name}")


def _relative(file: Path, folder: Path) -> str:
    """The file as the configuration in ``folder`` may name it."""
    absolute = file.resolve()
    inside = absolute.is_relative_to(folder)
    return (absolute.relative_to(folder) if inside else absolute).as_posix()


def _service(config_path: Path) -> str:
    word = re.sub(r"[^a-z0-9-]+", "-", config_path.resolve().parent.name.lower()).strip("-")
    return json.dumps(word[:40] if word[:1].isalpha() else f"service-{word}"[:40])
