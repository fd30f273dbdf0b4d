"""``onnxlift compress [MODEL]``: make artifacts."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import RenderableType

from onnxlift.cli import screen, summary
from onnxlift.cli.options import config_option, json_option
from onnxlift.cli.progress import progress_to
from onnxlift.compress import pipeline
from onnxlift.compress.inspect.table import name_of
from onnxlift.config import Config, Model, load_config
from onnxlift.placement import place
from onnxlift_runtime.errors import OnnxliftError


@click.command(short_help="Compress models as hard as their quality limit allows.")
@click.argument("model", required=False)
@click.option(
    "--recipe", metavar="NAME", help="Use this recipe instead of the configured one; auto searches."
)
@click.option(
    "--budget",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="Seconds that a search may take.",
)
@click.option(
    "--explain",
    is_flag=True,
    help="Show what was predicted, measured and decided for each recipe.",
)
@click.option(
    "--compare",
    nargs=2,
    metavar="A B",
    help="Try two recipes, show them side by side, write nothing.",
)
@config_option
@json_option
def command(
    model: str | None,
    recipe: str | None,
    budget: float | None,
    explain: bool,
    compare: tuple[str, str] | None,
    config_path: Path,
    as_json: bool,
) -> None:
    """Compress MODEL, or every configured model, as hard as its quality limit allows.

    MODEL may also be an .onnx file that no configuration names. Then inputs are made from its
    signature, because no real data can judge it, and the artifact goes to ./artifacts.

    Each recipe is judged on the held-out samples, against the fp32 model, on every instruction set
    that may serve it. The smallest (or fastest, or cheapest) model that passes becomes the
    artifact, with its report. If none passes, nothing is written and the exit code is 1. An
    interrupted search continues at the next run.
    """
    if compare and recipe:
        raise click.UsageError("--compare names two recipes itself; leave --recipe out")
    if compare and pipeline.AUTO in compare:
        raise click.UsageError(
            f"--compare takes the names of two recipes; {pipeline.AUTO} is a search, not a recipe"
        )
    config, model = _configuration(model, config_path)
    answers = []
    for name in [model] if model else sorted(config.models):
        with (
            _named(name, needed=len(config.models) > 1 and not model),
            progress_to(name, quiet=as_json) as on_progress,
        ):
            if compare:
                shown, data = _compared(
                    pipeline.compare(config, name, compare, on_progress, budget), name
                )
            else:
                shown, data = _compressed(
                    config,
                    name,
                    pipeline.compress(config, name, on_progress, recipe, budget),
                    explain,
                )
        answers.append(data)
        if not as_json:
            screen.show(shown)
    if as_json:
        click.echo(json.dumps({"models": answers}, indent=2))


def _configuration(model: str | None, config_path: Path) -> tuple[Config, str | None]:
    """The configuration and the model's name; a file that it does not name gets one of its own."""
    if model is None or not model.endswith(".onnx"):
        return load_config(config_path), model
    file = Path(model).resolve()
    if config_path.exists():
        config = load_config(config_path)
        named = (name for name, item in config.models.items() if item.source.resolve() == file)
        if name := next(named, None):
            return config, name
    name, here = name_of(file), Path.cwd()
    folders = {"artifacts": here / "artifacts", "cache": here / ".onnxlift"}
    return Config(service="local", models={name: Model(source=file)}, **folders), name


def _compressed(
    config: Config, name: str, outcome: pipeline.Outcome, explain: bool
) -> tuple[RenderableType, dict[str, object]]:
    placement = place(outcome.manifest, config.models[name].placement)
    return summary.as_tables(outcome, placement, explain=explain), summary.as_json(
        outcome, placement
    )


def _compared(
    comparison: pipeline.Comparison, name: str
) -> tuple[RenderableType, dict[str, object]]:
    return summary.side_by_side(comparison, name), summary.comparison_as_json(comparison, name)


@contextlib.contextmanager
def _named(model: str, *, needed: bool) -> Iterator[None]:
    """Begin the line that tells an error with the model's name."""
    try:
        yield
    except OnnxliftError:
        if needed:
            click.secho(f"{model}: ", fg="red", err=True, nl=False)
        raise
