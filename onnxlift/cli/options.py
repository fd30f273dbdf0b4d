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
LOCAL_URL: Final = "http://127.0.0.1:8080"
url_option: Final = click.option(
    "--url",
    default=LOCAL_URL,
    show_default=True,
    envvar="ONNXLIFT_URL",
    help="The service, stage included.",
)
api_key_option: Final = click.option(
    "--api-key",
    envvar="ONNXLIFT_API_KEY",
    help="Sent as x-api-key; better set as ONNXLIFT_API_KEY.",
)
json_option: Final = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for programs, nothing else."
)
