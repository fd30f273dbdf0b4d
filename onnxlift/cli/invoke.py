"""``onnxlift invoke``: one inference on a local or deployed service, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxlift.cli.options import api_key_option, json_option, url_option
from onnxlift_runtime.errors import JobConflict

if TYPE_CHECKING:
    from onnxlift.client import Answer, JobRecord, Jobs, ModelMetadata, Terms

Assignment = tuple[str, str]


def _split(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> tuple[Assignment, ...]:
    """``NAME=value`` options as pairs."""
    pairs = [value.partition("=") for value in values]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise click.BadParameter(f"{name or '='!r} is not NAME=VALUE")
    names = [name for name, _, _ in pairs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise click.BadParameter(f"{repeated[0]!r} is given more than once")
    return tuple((name, value) for name, _, value in pairs)


@click.command()
@click.argument("model")
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    required=True,
    callback=_split,
    metavar="NAME=VALUE",
    help="A number, a list such as [[1,2]], text, or @FILE (.npy, .npz, .json; '@FILE[0:8]' takes "
    "rows). Repeatable.",
)
@url_option
@click.option("--version", "version", help="The model's version; the newest when absent.")
@click.option(
    "--top",
    type=click.IntRange(1),
    help="Show the best K classes of each output, with their labels.",
)
@click.option(
    "--binary/--no-binary",
    default=True,
    show_default=True,
    help="Send tensors as raw bytes or as JSON.",
)
@api_key_option
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.001),
    default=30,
    show_default=True,
    help="Seconds to wait for an answer.",
)
@click.option(
    "-o",
    "--output",
    "files",
    multiple=True,
    callback=_split,
    metavar="NAME=FILE.npy",
    help="Save an output. Repeatable.",
)
@click.option("--async", "as_job", is_flag=True, help="Make a job of it, and print its id.")
@click.option(
    "--wait",
    "wait",
    is_flag=True,
    help="With --async: follow the job, and show its outputs when it ends.",
)
@json_option
def command(
    model: str,
    inputs: tuple[Assignment, ...],
    url: str,
    version: str | None,
    top: int | None,
    binary: bool,
    api_key: str | None,
    timeout_s: float,
    files: tuple[Assignment, ...],
    as_job: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Run MODEL once and show its outputs."""
    # Here, so that `--help` loads no numpy and no HTTP client.
    from onnxlift.client import Client, Jobs, read_input

    if top and files:
        raise click.UsageError(
            "--output saves tensors, --top asks for classes instead: use one of them"
        )
    if wait and not as_job:
        raise click.UsageError("--wait follows a job: it needs --async")
    if files and as_job and not wait:
        raise click.UsageError(
            "--output saves outputs, which a job has only when it has ended: add --wait"
        )
    with Client(url, api_key=api_key, timeout_s=timeout_s) as client:
        metadata = client.metadata(model, version)
        _check_outputs(metadata, files)
        specs = {name: metadata.input(name) for name, _ in inputs}
        arrays = {
            name: (specs[name].datatype, read_input(text, specs[name])) for name, text in inputs
        }
        classes = _scored_outputs(metadata, top) if top else {}
        terms: Terms = {"version": version, "binary": binary, "classes": classes}
        if as_job:
            record = Jobs(client).submit(model, arrays, **terms)
            if not wait:
                _show_job(record, as_json=as_json)
                return
            answer = _follow(Jobs(client), record, timeout_s)
        else:
            answer = client.infer(model, arrays, **terms)
    _save(answer, files)
    _show(answer, as_classes=bool(top), as_json=as_json)


def _show_job(record: JobRecord, *, as_json: bool) -> None:
    from onnxlift.cli import records

    click.echo(records.one_as_json(record) if as_json else record.id)


def _follow(jobs: Jobs, record: JobRecord, timeout_s: float) -> Answer:
    """The outputs of a job once it has ended; raises ``JobConflict`` where it ended without, or has
    not ended.
    """
    from onnxlift.cli.records import describe, status_line

    with status_line() as tell:
        ended = jobs.wait(record.id, timeout_s, tell)
    if not ended.succeeded:
        why = (
            ended.error
            or f"not ended after {timeout_s:g} s; `onnxlift jobs show {ended.id}` tells how it "
            f"goes on"
        )
        raise JobConflict(f"{describe(ended)}: {why}")
    return jobs.result(ended.id)


def _check_outputs(metadata: ModelMetadata, files: tuple[Assignment, ...]) -> None:
    known = [spec.name for spec in metadata.outputs]
    for name, _ in files:
        if name not in known:
            raise click.BadParameter(
                f"model {metadata.name!r} has no output {name!r}; it has: {', '.join(known)}"
            )


def _scored_outputs(metadata: ModelMetadata, top: int) -> dict[str, int]:
    """The outputs that hold scores: one or more numbers for each sample."""
    names = [
        spec.name for spec in metadata.outputs if spec.datatype != "BYTES" and len(spec.shape) > 1
    ]
    if not names:
        raise click.UsageError(
            f"model {metadata.name!r} has no output with scores of classes; leave --top out"
        )
    return dict.fromkeys(names, top)


def _save(answer: Answer, files: tuple[Assignment, ...]) -> None:
    import numpy as np

    for name, target in files:
        array = answer.outputs[name]
        np.save(
            Path(target.removeprefix("@")),
            array.astype(np.bytes_) if array.dtype == object else array,
        )


def _show(answer: Answer, *, as_classes: bool, as_json: bool) -> None:
    from onnxlift.cli import outputs

    if as_json:
        click.echo(outputs.as_json(answer, as_classes=as_classes))
    else:
        outputs.show(answer, as_classes=as_classes)
