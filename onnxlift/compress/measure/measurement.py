"""What loading and running a model costs, measured in a fresh process for each model so that none
pays for another.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from onnxlift.arrays import save_arrays
from onnxlift.compress.cpu.description import describe_cpu
from onnxlift.compress.model.samples import Samples
from onnxlift_runtime.errors import ModelRefused
from onnxlift_runtime.manifest import Latency, Manifest, Measurements

BATCH_SIZES: Final = (1, 8, 32)
THREADS: Final = 1  # a Lambda function of 1,769 MB has one vCPU
SECONDS: Final = 0.4  # for each batch size
TIMEOUT_S: Final = 600
_MS_DIGITS: Final = 4


def measure(
    folder: Path, manifest: Manifest, samples: Samples, batch_sizes: Sequence[int]
) -> Measurements:
    """Measure the model in ``folder`` as ``manifest`` describes it, on rows of ``samples``, which
    are repeated where there are fewer.

    Load time and latencies in milliseconds, memory in MiB. Raises ``ModelRefused`` where the
    process dies of it.
    """
    with tempfile.TemporaryDirectory(prefix="onnxlift-") as scratch:
        request = {
            "folder": str(folder),
            "manifest": manifest.to_json(),
            "feeds": _store_feeds(Path(scratch), samples, batch_sizes),
            "batch_sizes": list(batch_sizes),
            "threads": THREADS,
            "seconds": SECONDS,
        }
        return _read(_probe(request))


def race(models: Sequence[tuple[Path, Manifest]], samples: Samples, rows: int) -> tuple[float, ...]:
    """The lower quartile of the times in milliseconds of models that run in turns in one process,
    on ``rows`` of ``samples``.

    Raises ``ModelRefused`` where the process dies of it.
    """
    with tempfile.TemporaryDirectory(prefix="onnxlift-") as scratch:
        request = {
            "folders": [str(folder) for folder, _ in models],
            "manifests": [manifest.to_json() for _, manifest in models],
            "feeds": _store_feeds(Path(scratch), samples, [rows]),
            "batch_sizes": [rows],
            "threads": THREADS,
            "seconds": SECONDS * len(models),
        }
        return tuple(_probe(request)["quick_ms"])


def _store_feeds(folder: Path, samples: Samples, batch_sizes: Sequence[int]) -> str:
    """A feed for each batch size, as ``probe`` reads them; text is stored as fixed-width bytes."""
    feeds = {
        f"{rows}/{name}": array.astype(np.bytes_) if array.dtype == object else array
        for rows in batch_sizes
        for name, array in samples.repeated(rows).items()
    }
    save_arrays(folder / "feeds.npz", feeds)
    return str(folder / "feeds.npz")


def _probe(request: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "onnxlift.compress.measure.probe"]
    try:
        done = subprocess.run(  # noqa: S603 - our own module, the request goes through stdin
            command,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelRefused(f"measuring the model took more than {TIMEOUT_S} s") from error
    if done.returncode < 0:
        raise ModelRefused(
            f"the process that ran the model was killed by signal {-done.returncode}; was memory "
            f"short?"
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelRefused(f"the model cannot be measured: {last}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _read(answer: dict[str, Any]) -> Measurements:
    latency = tuple(
        Latency(
            item["batch_size"], round(item["p50_ms"], _MS_DIGITS), round(item["p95_ms"], _MS_DIGITS)
        )
        for item in answer["latency"]
    )
    return Measurements(
        load_ms=round(answer["load_ms"], 1),
        peak_memory_mb=round(answer["peak_memory_mb"], 1),
        latency=latency,
        cpu=describe_cpu(),
        threads=THREADS,
        onnxruntime=answer["onnxruntime"],
    )
