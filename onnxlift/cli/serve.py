"""``onnxlift serve``: the deployed service on a local port."""

import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxlift.artifact import read_placements, require_verified_here
from onnxlift.cli.options import config_option
from onnxlift.config import load_config
from onnxlift.topology import SWEEP_EVERY_S
from onnxlift_runtime.names import SWEEP_EVENT

if TYPE_CHECKING:
    from onnxlift.local.functions.wiring import Wiring


@click.command()
@config_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8080,
    show_default=True,
    help="The port; 0 takes a free one.",
)
@click.option(
    "--threads",
    type=click.IntRange(0),
    default=0,
    help="Threads of one inference; 0 is one per processor.",
)
@click.option("--quiet", is_flag=True, help="Do not log each request.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that work on queued jobs.",
)
@click.option(
    "--persist",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep jobs and objects in DIR until the next start.",
)
@click.option(
    "--sweep-every",
    "sweep_every_s",
    type=click.FloatRange(min=0.1),
    default=SWEEP_EVERY_S,
    show_default=True,
    help="Seconds between two sweeps for lost jobs.",
)
@click.pass_context
def command(
    ctx: click.Context,
    config_path: Path,
    host: str,
    port: int,
    threads: int,
    quiet: bool,
    workers: int,
    persist: Path | None,
    sweep_every_s: float,
) -> None:
    """Serve all compressed models on a local HTTP port.

    The functions and their limits are the same as in AWS. Jobs run on a local S3, SQS, DynamoDB and
    EventBridge; the command prints their address for `aws --endpoint-url`. Stop it with Ctrl-C or
    SIGTERM.
    """
    # `--help` loads no server and no runtime.
    from onnxlift.local.functions.service import open_service
    from onnxlift.local.moto.cloud import open_cloud
    from onnxlift.local.server import listen
    from onnxlift.local.workers.gpu import gpu_workers
    from onnxlift.local.workers.queue_worker import Workers

    config = load_config(config_path)
    # A model that cannot be placed is reported here, before any process starts and fails on it.
    read_placements(config)
    require_verified_here(config)
    _log_to_stderr(quiet)
    with (
        tempfile.TemporaryDirectory(prefix="onnxlift-") as scratch,
        listen(host, port) as sock,
        open_cloud(config_path, persist) as cloud,
        open_service(config, cloud, threads=threads, workers=workers) as (wiring, inventory),
    ):
        for line in (*inventory.lines(), *cloud.lines(config.service)):
            click.echo(line)
        with (
            Workers(workers, [str(config_path)], os.environ) as started,
            gpu_workers(config, Path(scratch)) as on_gpu,
        ):
            status = _answer(wiring, sock, sweep_every_s, (started.start, on_gpu.start))
    ctx.exit(status)


def _answer(
    wiring: "Wiring",
    sock: socket.socket,
    sweep_every_s: float,
    starts: Iterable[Callable[[], None]],
) -> int:
    """Answer requests until a signal ends it; the workers start once the port is open."""
    from onnxlift.local.functions.gateway import Gateway
    from onnxlift.local.functions.schedule import Schedule
    from onnxlift.local.server import address, run

    sweep = Schedule(wiring.handlers["control"], SWEEP_EVENT, sweep_every_s)

    def ready() -> None:
        click.echo(f"listening on {address(sock)}")
        for start in (*starts, sweep.start):
            start()

    status = run(Gateway(wiring), sock, ready)
    sweep.stop()
    return status


def _log_to_stderr(quiet: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    for name in ("onnxlift.access", "onnxlift.local"):
        logging.getLogger(name).addHandler(handler)
    logging.getLogger("onnxlift.access").setLevel(logging.WARNING if quiet else logging.INFO)
