"""The fresh process that ``measure`` starts: open one artifact, run it, print the figures as one
line of JSON.

It imports what the function in AWS imports and nothing of the build side, so that its peak memory
is that of serving.
"""

import json
import resource
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from onnxlift_runtime.dataplane.session import Session
from onnxlift_runtime.manifest import Manifest, TensorSpec
from onnxlift_runtime.tensors.arrays import Array

WARM_UPS: Final = 3  # caches fill, and onnxruntime plans its memory on the first run
FEWEST_RUNS: Final = 5
MOST_RUNS: Final = 300
FEWEST_TURNS: Final = 15
_QUICK: Final = 25


def main() -> None:
    """Read the request from stdin, measure one model or let several race, and answer on stdout."""
    request = json.load(sys.stdin)
    answer = _race(request) if "folders" in request else _figures(request)
    sys.stdout.write(json.dumps(answer) + "\n")


def _figures(request: Mapping[str, Any]) -> dict[str, Any]:
    manifest = Manifest.from_json(request["manifest"])
    started = perf_counter()
    session = Session(Path(request["folder"]), manifest, threads=request["threads"], verify=False)
    load_ms = (perf_counter() - started) * 1000
    latency = [
        {"batch_size": rows, **_latency(session, feed, request["seconds"])}
        for rows, feed in _feeds(request, manifest)
    ]
    return {
        "load_ms": load_ms,
        "peak_memory_mb": peak_memory_mb(),
        "latency": latency,
        "onnxruntime": ort.__version__,
    }


def _race(request: Mapping[str, Any]) -> dict[str, Any]:
    """The lower quartile of several models' times that take turns, so that what else runs slows
    all of them, and seldom the quickest.
    """
    manifests = [Manifest.from_json(text) for text in request["manifests"]]
    sessions = [
        Session(Path(folder), manifest, threads=request["threads"], verify=False)
        for folder, manifest in zip(request["folders"], manifests, strict=True)
    ]
    ((_, feed),) = _feeds(request, manifests[0])
    times: list[list[float]] = [[] for _ in sessions]
    for _ in range(WARM_UPS):
        for session in sessions:
            _run_ms(session, feed)
    started = perf_counter()
    while len(times[0]) < FEWEST_TURNS or (
        perf_counter() - started < request["seconds"] and len(times[0]) < MOST_RUNS
    ):
        for session, found in zip(sessions, times, strict=True):
            found.append(_run_ms(session, feed))
    return {"quick_ms": [float(np.percentile(found, _QUICK)) for found in times]}


def peak_memory_mb() -> float:
    """The most memory this process held so far, in MiB.

    Linux is asked for VmHWM, because ru_maxrss there starts at the size of the process that started
    this one.
    """
    try:
        status = Path("/proc/self/status").read_text("ascii", "replace")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) / 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 1024  # bytes there, else KiB


def _feeds(
    request: Mapping[str, Any], manifest: Manifest
) -> Iterator[tuple[int, dict[str, Array]]]:
    """The feed of each batch size, as ``measure`` stored it."""
    with np.load(request["feeds"], allow_pickle=False) as file:
        for rows in request["batch_sizes"]:
            yield (
                rows,
                {
                    spec.name: _restored(file[f"{rows}/{spec.name}"], spec)
                    for spec in manifest.inputs
                },
            )


def _restored(array: Array, spec: TensorSpec) -> Array:
    """Text is stored as fixed-width bytes, and a model takes objects."""
    return array.astype(object) if spec.datatype == "BYTES" else array


def _latency(session: Session, feed: Mapping[str, Array], seconds: float) -> dict[str, Any]:
    """p50 and p95 in milliseconds over as many runs as fit into ``seconds``, five at least."""
    # What takes long enough to fill the caches needs no second time to do it.
    first_ms = _run_ms(session, feed)
    for _ in range(WARM_UPS - 1 if first_ms < 1000 * seconds / FEWEST_RUNS else 0):
        _run_ms(session, feed)
    started = perf_counter()
    times: list[float] = []
    while len(times) < FEWEST_RUNS or (
        perf_counter() - started < seconds and len(times) < MOST_RUNS
    ):
        times.append(_run_ms(session, feed))
    p50, p95 = np.percentile(times, [50, 95])
    return {"p50_ms": float(p50), "p95_ms": float(p95)}


def _run_ms(session: Session, feed: Mapping[str, Array]) -> float:
    before = perf_counter()
    session.run(feed, [spec.name for spec in session.manifest.outputs])
    return (perf_counter() - before) * 1000


if __name__ == "__main__":
    main()
