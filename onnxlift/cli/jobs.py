"""``onnxlift jobs``: what became of inferences that are answered later."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxlift.cli.options import api_key_option, json_option, url_option
from onnxlift_runtime.jobs.job import JobStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnxlift.client import JobRecord, Jobs

STATUSES = [str(status) for status in JobStatus]
job_argument = click.argument("job_id", metavar="JOB")


@click.group()
def command() -> None:
    """List jobs, and show, fetch, cancel or retry one."""


@contextmanager
def _jobs(url: str, api_key: str | None) -> Iterator[Jobs]:
    from onnxlift.client import Client, Jobs  # `--help` loads no numpy and no HTTP client

    with Client(url, api_key=api_key) as client:
        yield Jobs(client)


def _show(record: JobRecord, *, as_json: bool) -> None:
    from onnxlift.cli import records

    if as_json:
        click.echo(records.one_as_json(record))
    else:
        records.show_one(record)


@command.command("list")
@click.option("--model", default="", help="Only jobs of this model.")
@click.option(
    "--status",
    type=click.Choice(STATUSES, case_sensitive=False),
    default=None,
    help="Only jobs like this.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="How many at most.",
)
@url_option
@api_key_option
@json_option
def list_jobs(
    model: str, status: str | None, limit: int, url: str, api_key: str | None, as_json: bool
) -> None:
    """List your jobs, the newest first."""
    from onnxlift.cli import records

    with _jobs(url, api_key) as jobs:
        found = list(jobs.list(model=model, status=status or "", limit=limit))
    if as_json:
        click.echo(records.as_json(found))
    else:
        records.show_table(found)


@command.command()
@job_argument
@url_option
@api_key_option
@json_option
def show(job_id: str, url: str, api_key: str | None, as_json: bool) -> None:
    """Show where JOB is and how it went."""
    with _jobs(url, api_key) as jobs:
        _show(jobs.show(job_id), as_json=as_json)


@command.command()
@job_argument
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it to this file.",
)
@url_option
@api_key_option
@json_option
def result(job_id: str, path: Path | None, url: str, api_key: str | None, as_json: bool) -> None:
    """Show the outputs of JOB, or write them to a file as they came."""
    from onnxlift.cli import outputs
    from onnxlift.client import decode_answer

    with _jobs(url, api_key) as jobs:
        body, headers = jobs.result_bytes(job_id)
    if path is not None:
        path.write_bytes(body)
        return
    answer = decode_answer(body, headers)
    if as_json:
        click.echo(outputs.as_json(answer, as_classes=False))
    else:
        outputs.show(answer, as_classes=False)


@command.command()
@job_argument
@url_option
@api_key_option
@json_option
def cancel(job_id: str, url: str, api_key: str | None, as_json: bool) -> None:
    """Stop JOB, whether it waits or runs."""
    with _jobs(url, api_key) as jobs:
        _show(jobs.cancel(job_id), as_json=as_json)


@command.command()
@job_argument
@url_option
@api_key_option
@json_option
def retry(job_id: str, url: str, api_key: str | None, as_json: bool) -> None:
    """Queue JOB again: one that failed, expired or was canceled."""
    with _jobs(url, api_key) as jobs:
        _show(jobs.retry(job_id), as_json=as_json)
