"""The main job on real data, checked: compress → place → synthesise → serve → ask for 360 held-out
digits three ways.

``python -m examples.digits.demo`` ends with 0 where every check passes, with 1 and the reasons
where one does not, and with 130 on Ctrl-C or SIGTERM. It leaves no process behind.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import IO, Any, Final, NoReturn

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table

from examples.digits import routes
from onnxlift.client import Client
from onnxlift.config import CONFIG_NAME, Config, load_config
from onnxlift.local.process import running_service
from onnxlift_runtime.errors import OnnxliftError
from onnxlift_runtime.manifest import Manifest, read_manifest

ROOT: Final = Path(__file__).resolve().parents[2]
MODEL: Final = "digits"
MAX_SIZE_RATIO: Final = 0.35
PYTHON: Final = sys.executable
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Images FP32 [360, 1, 8, 8] that the model never saw, their true classes, and the fp32 model's
    classes.
    """

    pixels: Array
    labels: Array
    reference: Array


@dataclass(frozen=True, slots=True)
class RouteResult:
    """One way to ask: the class it gave each image, and the median time of one request."""

    name: str
    classes: Array
    p50_ms: float


class StepFailed(Exception):
    """A command of the demo ended with an error; it has told why itself."""


def main() -> int:
    """Run every step; returns the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    started = perf_counter()
    try:
        problems = _run(Console(width=100))
    except (OnnxliftError, StepFailed) as error:
        problems = [str(error)]
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    for problem in problems:
        print(f"FAILED: {problem}", file=sys.stderr)
    if not problems:
        print(f"every check passed in {perf_counter() - started:.1f} s")
    return 1 if problems else 0


def _run(console: Console) -> list[str]:
    config = load_config(ROOT / CONFIG_NAME)
    _step("1. compress and place", PYTHON, "-m", "onnxlift", "compress", MODEL)
    with routes.written_config(config, MODEL) as config_path:
        compress = (PYTHON, "-m", "onnxlift", "compress", "--config", str(config_path))
        with _aside(*compress, routes.ON_LAMBDA), _aside(*compress, routes.ON_GPU):
            _step(
                "2. synthesise the CloudFormation templates",
                PYTHON,
                "-m",
                "infra.node",
                "cdk",
                "synth",
                "--quiet",
            )
        manifest = read_manifest(config.artifact_folder(MODEL))
        held_out = _read_held_out(config, manifest)
        _title(f"3. serve, and ask for {len(held_out.labels)} held-out images one by one")
        with running_service(config_path, ["--quiet"]) as service, Client(service.url) as client:
            print(f"listening on {service.url}")
            results = [_ask(name, ask, held_out) for name, ask in _routes(client, manifest)]
            routed = routes.ask_all(client, held_out.pixels)
    console.print(
        _model_table(config, manifest, held_out, results), _route_table(held_out, results)
    )
    console.print(_routed_table(routed))
    return _problems(config, manifest, held_out, results) + routes.problems(routed)


def _read_held_out(config: Config, manifest: Manifest) -> HeldOut:
    """The gate's samples, with the classes that onnxruntime gives on the file before
    compression.
    """
    model = config.models[MODEL]
    assert model.quality.samples is not None, "the demo's configuration names them"
    with np.load(model.quality.samples, allow_pickle=False) as arrays:
        pixels, labels = arrays[manifest.inputs[0].name], arrays[model.quality.labels]
    session = onnxruntime.InferenceSession(str(model.source), providers=["CPUExecutionProvider"])
    scores = session.run([manifest.outputs[0].name], {manifest.inputs[0].name: pixels})[0]
    return HeldOut(pixels, labels, np.asarray(scores).argmax(axis=1))


def _routes(client: Client, manifest: Manifest) -> Iterator[tuple[str, Callable[[Array], Array]]]:
    """Three ways to ask for the scores of one image."""
    given, wanted = manifest.inputs[0], manifest.outputs[0].name

    def infer(image: Array, *, binary: bool) -> Array:
        return client.infer(MODEL, {given.name: (given.datatype, image)}, binary=binary).outputs[
            wanted
        ]

    yield "/v2/…/infer, JSON", lambda image: infer(image, binary=False)
    yield "/v2/…/infer, binary", lambda image: infer(image, binary=True)
    yield "/v1/…:predict", lambda image: np.asarray(client.predict(MODEL, image))


def _ask(name: str, ask: Callable[[Array], Array], held_out: HeldOut) -> RouteResult:
    classes, took_ms = [], []
    for index in range(len(held_out.labels)):
        started = perf_counter()
        scores = ask(held_out.pixels[index : index + 1])
        took_ms.append((perf_counter() - started) * 1000)
        classes.append(int(scores.argmax()))
    return RouteResult(name, np.array(classes), float(np.median(took_ms)))


def _problems(
    config: Config, manifest: Manifest, held_out: HeldOut, results: list[RouteResult]
) -> list[str]:
    """What was promised and does not hold, measured on the answers that came over HTTP."""
    problems = []
    if (ratio := _size_ratio(manifest)) > MAX_SIZE_RATIO:
        problems.append(
            f"the artifact is {ratio:.2f} × the fp32 file, at most {MAX_SIZE_RATIO} is promised"
        )
    allowed = _accuracy(held_out.reference, held_out) - config.models[MODEL].quality.max_drop
    for result in results:
        if (accuracy := _accuracy(result.classes, held_out)) < allowed:
            problems.append(
                f"{result.name}: accuracy {accuracy:.4f}, at least {allowed:.4f} is allowed"
            )
        if different := np.flatnonzero(result.classes != held_out.reference).tolist():
            problems.append(
                f"{result.name}: another class than the fp32 model's for images {different}"
            )
    return problems


def _model_table(
    config: Config, manifest: Manifest, held_out: HeldOut, results: list[RouteResult]
) -> Table:
    table = Table(
        "",
        "fp32",
        manifest.recipe,
        title=f"{MODEL} version {manifest.version}",
        title_justify="left",
    )
    before, after = manifest.source.latency[0], manifest.measurements.latency[0]
    size = config.models[MODEL].source.stat().st_size
    served = min(_accuracy(result.classes, held_out) for result in results)
    rows = (
        ("size", f"{size:,} B", f"{manifest.size_bytes:,} B ({_size_ratio(manifest):.2f} ×)"),
        ("accuracy, held-out", f"{_accuracy(held_out.reference, held_out):.2%}", f"{served:.2%}"),
        (
            f"p50 of the model, batch {after.batch_size}",
            f"{before.p50_ms:.3f} ms",
            f"{after.p50_ms:.3f} ms",
        ),
    )
    for row in rows:
        table.add_row(*row)
    return table


def _route_table(held_out: HeldOut, results: list[RouteResult]) -> Table:
    table = Table(
        "route", "same class as fp32", "p50 of one request", title="over HTTP", title_justify="left"
    )
    for result in results:
        same = int((result.classes == held_out.reference).sum())
        table.add_row(result.name, f"{same} of {len(held_out.labels)}", f"{result.p50_ms:.2f} ms")
    return table


def _routed_table(routed: list[routes.Routed]) -> Table:
    table = Table(
        "asked", "answer", "X-Onnxlift-Route", title="where requests go", title_justify="left"
    )
    for item in routed:
        table.add_row(item.asked, str(item.status), item.route)
    return table


def _size_ratio(manifest: Manifest) -> float:
    return manifest.size_bytes / manifest.source.size_bytes


def _accuracy(classes: Array, held_out: HeldOut) -> float:
    return float((classes == held_out.labels).mean())


def _step(title: str, *command: str) -> None:
    """Run one command whose output the reader sees; raises ``StepFailed`` where it fails."""
    _title(title)
    with _process_group(command) as process:
        status = process.wait()
    if status:
        raise StepFailed(f"`{' '.join(['python', *command[1:]])}` ended with exit code {status}")


@contextmanager
def _aside(*command: str) -> Iterator[None]:
    """A command that runs while the block does, in silence; raises ``StepFailed`` with its words
    where it fails.
    """
    with tempfile.TemporaryFile("w+") as words, _process_group(command, words) as process:
        yield
        if process.wait():
            words.seek(0)
            raise StepFailed(
                f"`{' '.join(['python', *command[1:]])}` failed: {words.read().strip()}"
            )


@contextmanager
def _process_group(
    command: tuple[str, ...], output: IO[str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended together with all it started where the block is left early."""
    process = subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=output, stderr=output
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _title(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
