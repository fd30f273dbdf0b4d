"""Options that several commands share."""

from pathlib import Path
from typing import Final

import click

from onnxlift.config import CONFIG_NAME

config_option: Final = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=CONFIG_NAME,
    show_default=True,
    help="The configuration file; paths in it start at its folder.",
)
json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, nothing else.")
