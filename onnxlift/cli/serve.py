"""``onnxlift serve``: the deployed service on a local port."""

import logging
import sys
from pathlib import Path

import click

from onnxlift.cli.options import config_option
from onnxlift.config import load_config


@click.command()
@config_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="The port; 0 takes a free one."
)
@click.option("--threads", type=click.IntRange(0), default=0, help="Threads of one inference; 0 is one per processor.")
@click.option("--quiet", is_flag=True, help="Write no line for each request.")
@click.pass_context
def command(ctx: click.Context, config_path: Path, host: str, port: int, threads: int, quiet: bool) -> None:
    """Serve all compressed models on a local HTTP port.

    The same functions as in AWS answer, with the same limits. Ctrl-C or SIGTERM ends it.
    """
    from onnxlift.local.gateway import Gateway  # `--help` loads no server and no runtime
    from onnxlift.local.server import address, listen, run
    from onnxlift.local.service import open_service

    config = load_config(config_path)
    _log_to_stderr(quiet)
    with listen(host, port) as sock, open_service(config, threads=threads) as (wiring, inventory):
        for line in inventory.lines():
            click.echo(line)
        status = run(Gateway(wiring), sock, lambda: click.echo(f"listening on {address(sock)}"))
    sys.stdout.flush()
    ctx.exit(status)


def _log_to_stderr(quiet: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    for name in ("onnxlift.access", "onnxlift.local"):
        logging.getLogger(name).addHandler(handler)
    logging.getLogger("onnxlift.access").setLevel(logging.WARNING if quiet else logging.INFO)
