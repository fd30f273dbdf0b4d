"""One model, run in a process of its own as another CPU would run it; values travel in .npz
files.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from onnxlift.arrays import save_arrays
from onnxlift.compress.cpu import sysroot
from onnxlift.compress.cpu.instructions import (
    Availability,
    InstructionSet,
    available,
    variables,
)
from onnxlift.compress.cpu.saturation import CHILD, last_line
from onnxlift_runtime.errors import InferenceFailed, ModelUnavailable

_TIMEOUT_S: Final = 600


def run_on(
    instructions: InstructionSet,
    model: Path,
    feeds: Sequence[Mapping[str, np.ndarray]],
    session_options: Mapping[str, str] | None = None,
    timeout_s: float = _TIMEOUT_S,
    *,
    optimize_at_load: bool = True,
) -> list[dict[str, np.ndarray]]:
    """Run every feed on ``instructions`` and return the outputs by name, feed by feed.

    ``session_options`` and ``optimize_at_load`` are the manifest's. Raises ``ModelUnavailable``
    with the reason when there is no road to these instructions, and ``InferenceFailed`` with the
    process's last line when it fails or takes longer than ``timeout_s``.
    """
    road = available(instructions)
    if not road:
        raise ModelUnavailable(f"{instructions.value}: {road.reason}")
    with tempfile.TemporaryDirectory() as scratch:
        before, after = Path(scratch) / "feeds.npz", Path(scratch) / "outputs.npz"
        arrays = {
            f"{index}/{name}": array
            for index, feed in enumerate(feeds)
            for name, array in feed.items()
        }
        save_arrays(before, arrays)
        options = [f"{key}={value}" for key, value in (session_options or {}).items()]
        request = [
            str(model.resolve()),
            str(before),
            str(after),
            str(int(optimize_at_load)),
            *options,
        ]
        _wait([*_python(road), str(CHILD), *request], road, timeout_s)
        return _read(after, len(feeds))


def _python(road: Availability) -> list[str]:
    if road.instructions is InstructionSet.NEOVERSE_N1 and road.road == "emulated":
        return sysroot.python_command()
    if road.road == "emulated":
        return ["qemu-x86_64", "-cpu", "Haswell", sys.executable]
    return [sys.executable]


def _environment(road: Availability) -> dict[str, str]:
    if road.instructions is InstructionSet.NEOVERSE_N1 and road.road == "emulated":
        return {
            "PYTHONPATH": sysroot.python_path(),
            "OPENBLAS_NUM_THREADS": "1",
            "PATH": os.environ["PATH"],
        }
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, **one_thread, **variables(road)}


def _wait(command: Sequence[str], road: Availability, timeout_s: float) -> None:
    name = road.instructions.value
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command,
            env=_environment(road),
            capture_output=True,
            timeout=timeout_s,
            check=False,
            text=True,
        )
    except subprocess.TimeoutExpired as error:
        raise InferenceFailed(
            f"{name} ({road.road}): no answer after {timeout_s:g} s; use fewer samples"
        ) from error
    if done.returncode != 0:
        raise InferenceFailed(f"{name} ({road.road}): {last_line(done)}")


def _read(path: Path, count: int) -> list[dict[str, np.ndarray]]:
    outputs: list[dict[str, np.ndarray]] = [{} for _ in range(count)]
    with np.load(path) as found:
        for key in found.files:
            index, _, name = key.partition("/")
            outputs[int(index)][name] = found[key]
    return outputs
