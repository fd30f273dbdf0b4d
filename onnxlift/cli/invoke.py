"""``onnxlift invoke``: one inference on a local or deployed service, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from onnxlift.cli.options import json_option

if TYPE_CHECKING:
    from onnxlift.client import Answer, ModelMetadata

LOCAL_URL: Final = "http://127.0.0.1:8080"
Assignment = tuple[str, str]


def _split(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[Assignment, ...]:
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
    help="A number, a list such as [[1,2]], text, or @FILE (.npy, .npz, .json; '@FILE[0:8]' takes rows). Repeatable.",
)
@click.option("--url", default=LOCAL_URL, show_default=True, envvar="ONNXLIFT_URL", help="The service, stage included.")
@click.option("--version", "version", help="The model's version; the newest when absent.")
@click.option("--top", type=click.IntRange(1), help="Show the best K classes of each output, with their labels.")
@click.option("--binary/--no-binary", default=True, show_default=True, help="Send tensors as raw bytes or as JSON.")
@click.option("--api-key", envvar="ONNXLIFT_API_KEY", help="Sent as x-api-key; better set as ONNXLIFT_API_KEY.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0.001), default=30, show_default=True, help="Seconds."
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
    as_json: bool,
) -> None:
    """Run MODEL once and show its outputs."""
    from onnxlift.client import Client, read_input  # `--help` loads no numpy and no HTTP client

    if top and files:
        raise click.UsageError("--output saves tensors, --top asks for classes instead: use one of them")
    with Client(url, api_key=api_key, timeout_s=timeout_s) as client:
        metadata = client.metadata(model, version)
        _check_outputs(metadata, files)
        specs = {name: metadata.input(name) for name, _ in inputs}
        arrays = {name: (specs[name].datatype, read_input(text, specs[name])) for name, text in inputs}
        classes = _scored_outputs(metadata, top) if top else {}
        answer = client.infer(model, arrays, version=version, binary=binary, classes=classes)
    _save(answer, files)
    _show(answer, as_classes=bool(top), as_json=as_json)


def _check_outputs(metadata: ModelMetadata, files: tuple[Assignment, ...]) -> None:
    known = [spec.name for spec in metadata.outputs]
    for name, _ in files:
        if name not in known:
            raise click.BadParameter(f"model {metadata.name!r} has no output {name!r}; it has: {', '.join(known)}")


def _scored_outputs(metadata: ModelMetadata, top: int) -> dict[str, int]:
    """The outputs that hold scores: one or more numbers for each sample."""
    names = [spec.name for spec in metadata.outputs if spec.datatype != "BYTES" and len(spec.shape) > 1]
    if not names:
        raise click.UsageError(f"model {metadata.name!r} has no output with scores of classes; leave --top out")
    return dict.fromkeys(names, top)


def _save(answer: Answer, files: tuple[Assignment, ...]) -> None:
    import numpy as np

    for name, target in files:
        array = answer.outputs[name]
        np.save(Path(target.removeprefix("@")), array.astype(np.bytes_) if array.dtype == object else array)


def _show(answer: Answer, *, as_classes: bool, as_json: bool) -> None:
    from onnxlift.cli import outputs

    if as_json:
        click.echo(outputs.as_json(answer, as_classes=as_classes))
    else:
        outputs.show(answer, as_classes=as_classes)
