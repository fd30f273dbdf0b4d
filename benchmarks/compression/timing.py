"""Speed on one thread and time to open, all models in turn so that a disturbance meets all of them.

Each turn runs a model several times and drops the first two, so that it finds its own weights in
the caches, as it does where it is served alone.
"""

import gc
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np
import onnxruntime as ort

LENGTHS: Final = (16, 64, 128)
_TURNS: Final = {16: 25, 64: 12, 128: 8}
_BURST: Final = 10
_DROPPED: Final = 2
_OPENINGS: Final = 15
_CHILD: Final = """
import sys, time
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
if sys.argv[2] == "ready":
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
started = time.perf_counter()
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
print((time.perf_counter() - started) * 1000)
"""


@dataclass(frozen=True)
class Opened:
    """A model file, and whether its graph was optimised when it was packed."""

    path: Path
    optimized: bool


def speeds(
    models: Mapping[str, Opened], feeds: Mapping[int, Mapping[str, np.ndarray]]
) -> dict[str, dict[int, float]]:
    """Median milliseconds of one run for each model and sequence length."""
    sessions = {name: _session(model) for name, model in models.items()}
    found: dict[str, dict[int, float]] = {name: {} for name in models}
    gc.disable()
    for length, feed in feeds.items():
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(_TURNS[length]):
            for name, session in sessions.items():
                times[name] += _burst(session, feed)[_DROPPED:]
        for name, values in times.items():
            found[name][length] = float(np.median(values))
    gc.enable()
    return found


def _burst(session: ort.InferenceSession, feed: Mapping[str, np.ndarray]) -> list[float]:
    times = []
    for _ in range(_BURST):
        started = perf_counter()
        session.run(None, dict(feed))
        times.append((perf_counter() - started) * 1000)
    return times


def openings(models: Mapping[str, Opened]) -> dict[str, float]:
    """Median milliseconds that making the session takes in a fresh process, files already in
    memory.
    """
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(_OPENINGS):
        for name, model in models.items():
            command = [
                sys.executable,
                "-c",
                _CHILD,
                str(model.path),
                "ready" if model.optimized else "raw",
            ]
            quiet = {
                **os.environ,
                "OPENBLAS_NUM_THREADS": "1",
            }  # numpy's waiting threads would take a core
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=quiet)
            times[name].append(float(done.stdout))
    return {name: float(np.median(values)) for name, values in times.items()}


def _session(model: Opened) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if model.optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])


def run(model: Opened, feeds: Sequence[Mapping[str, np.ndarray]], output: str) -> np.ndarray:
    """One output of every feed, rows together."""
    session = _session(model)
    return np.concatenate([session.run([output], dict(feed))[0] for feed in feeds])
