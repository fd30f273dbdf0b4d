"""Pictures a second through the whole worker, beside those of the same session in a bare loop."""

import contextlib
import io
import itertools
import statistics
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from onnx import ModelProto, helper

from benchmarks.gpu_worker.payload import encode_payload
from gpu_fallback.models.loading import Models
from gpu_fallback.worker import GpuWorker
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.dataplane.session import processor_count
from onnxlift_runtime.jobs.job import Job, JobStatus
from onnxlift_runtime.jobservice.notifier import Notifier
from onnxlift_runtime.jobservice.service import JobService, Submission
from onnxlift_runtime.jobservice.worker import Worker
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.names import GPU
from onnxlift_runtime.settings import Limits, Settings, WorkerSettings
from onnxlift_runtime.tensors.arrays import Array
from tests.support import builders, memory

MODEL: Final = "pictures"
CLASSES: Final = 100
# One call to each service inside a region, as one sees it from a task: seconds.
DELAYS_S: Final[Mapping[str, float]] = {
    "dynamodb": 0.005,
    "sqs": 0.010,
    "s3": 0.030,
    "events": 0.010,
}


@dataclass(frozen=True, slots=True)
class Load:
    """What is measured: a network of ``layers`` convolutions with ``channels`` on pictures of
    ``side`` x ``side``.

    The session runs ``baseline_s`` at each batch size; then, at the best, a bare loop and a worker
    with ``jobs`` take turns, so that what else the machine does meets both.
    """

    side: int = 128
    channels: int = 32
    layers: int = 6
    jobs: int = 400
    rounds: int = 5
    baseline_s: float = 3.0
    batch_sizes: Sequence[int] = (1, 2, 4, 8, 16)


@dataclass(slots=True)
class Watched:
    """A runner that sums up how long its runs take."""

    models: Models
    running_s: float = 0.0

    @property
    def catalog(self) -> Catalog:
        """Its models."""
        return self.models.catalog

    @property
    def limits(self) -> Limits:
        """Its bounds."""
        return self.models.limits

    def prefetch(self, manifest: Manifest) -> None:
        """Have a model ready."""
        self.models.prefetch(manifest)

    def run(
        self, manifest: Manifest, feeds: Mapping[str, Array], outputs: Sequence[str]
    ) -> dict[str, Array]:
        """Run once, and count the time."""
        began_s = time.perf_counter()
        answers = self.models.run(manifest, feeds, outputs)
        self.running_s += time.perf_counter() - began_s
        return answers


def measure(load: Load, told: WorkerSettings) -> Mapping[str, str]:
    """Figures by name."""
    with tempfile.TemporaryDirectory(prefix="onnxlift-") as folder:
        manifest = builders.write_artifact(
            Path(folder), network(load), name=MODEL, max_batch_size=max(load.batch_sizes)
        )
        settings = Settings(service=memory.SERVICE, models_dir=Path(folder), log_level="ERROR")
        models = Models.open(
            settings, replace(told, serve=MODEL, health_file=Path(folder) / "healthy")
        )
        models.prefetch(manifest)
        pictures = (
            np.random.default_rng(0).normal(size=(16, 3, load.side, load.side)).astype(np.float32)
        )
        best, size = max(
            (_alone(load, models, manifest, pictures, size), size) for size in load.batch_sizes
        )
        own = replace(
            told, max_batch_size=size, health_file=Path(folder) / "healthy", stop_within_s=4
        )
        alone, through = [best], []
        for _ in range(load.rounds):
            alone.append(_alone(load, models, manifest, pictures, size))
            through.append(_through_worker(load, own, models, pictures))
        alone.append(_alone(load, models, manifest, pictures, size))
    rates, busy = zip(*through, strict=True)
    around = [(before + after) / 2 for before, after in itertools.pairwise(alone[1:])]
    ratios = sorted(worker / bare for worker, bare in zip(rates, around, strict=True))
    return {
        "device": card() if models.device.name != "cpu" else f"CPU, {processor_count()} processors",
        "network": f"{load.layers} convolutions, {load.channels} channels, {load.side} x "
        f"{load.side}, "
        f"{gflop(load):.2f} GFLOP a picture",
        "session alone, pictures/s": f"{statistics.median(alone):.1f} (up to {max(alone):.1f}) in "
        f"batches of {size}",
        "worker, pictures/s": f"{statistics.median(rates):.1f} (up to {max(rates):.1f})",
        "worker / session around it": f"median {statistics.median(ratios):.3f} of {len(ratios)} "
        f"rounds "
        f"({ratios[0]:.3f} to {ratios[-1]:.3f})",
        "worker's time in session.run": f"median {statistics.median(busy):.3f} ({min(busy):.3f} to "
        f"{max(busy):.3f})",
    }


def network(load: Load) -> ModelProto:
    """``pixels`` FP32 [-1, 3, side, side] through convolutions to ``scores`` [-1, 100]."""
    dice = np.random.default_rng(0)
    nodes, constants, last = [], {}, "pixels"
    for layer in range(load.layers):
        inputs = load.channels if layer else 3
        scale = np.float32(1 / np.sqrt(9 * inputs))
        constants[f"k{layer}"] = (
            dice.normal(size=(load.channels, inputs, 3, 3)).astype(np.float32) * scale
        )
        nodes.append(
            helper.make_node(
                "Conv", [last, f"k{layer}"], [f"c{layer}"], name=f"conv{layer}", pads=[1] * 4
            )
        )
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"], name=f"relu{layer}"))
        last = f"r{layer}"
    constants["w"] = dice.normal(size=(load.channels, CLASSES)).astype(np.float32)
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten"),
        helper.make_node("MatMul", ["flat", "w"], ["scores"], name="scores"),
    ]
    pixels = builders.value("pixels", "FP32", (-1, 3, load.side, load.side))
    return builders.build(
        nodes, [pixels], [builders.value("scores", "FP32", (-1, CLASSES))], constants
    )


def gflop(load: Load) -> float:
    """What one picture takes, a multiplication and an addition as two."""
    kernels = 3 * load.channels + (load.layers - 1) * load.channels**2
    return 2 * 9 * kernels * load.side**2 / 1e9


def card() -> str:
    """The GPU's name, as NVIDIA's own tool has it."""
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def _alone(load: Load, models: Models, manifest: Manifest, pictures: Array, size: int) -> float:
    feeds = {"pixels": np.resize(pictures, (size, *pictures.shape[1:]))}
    models.run(manifest, feeds, ["scores"])
    began_s, done = time.perf_counter(), 0
    while time.perf_counter() - began_s < load.baseline_s:
        models.run(manifest, feeds, ["scores"])
        done += size
    return done / (time.perf_counter() - began_s)


def _through_worker(
    load: Load, told: WorkerSettings, models: Models, pictures: Array
) -> tuple[float, float]:
    """Pictures a second, and the share of the time that went into the session."""
    kept = memory.Memory()
    service = kept.service
    made = [_submit(service, pictures[number % len(pictures)]) for number in range(load.jobs)]
    for line, name in (
        (kept.table.line, "dynamodb"),
        (kept.queues.line, "sqs"),
        (kept.bucket.line, "s3"),
    ):
        line.delay_s = DELAYS_S[name]
    ended = threading.Semaphore(0)

    def tell(_job: Job) -> None:
        time.sleep(DELAYS_S["events"])
        ended.release()

    watched = Watched(models)
    core = Worker(
        service, watched, Notifier([tell]), uuid.uuid4().hex, models.limits.max_tensor_bytes
    )
    worker = GpuWorker(core, told, (MODEL,), memory.SERVICE)
    thread = threading.Thread(target=worker.run)
    began_s = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):  # its metrics
        thread.start()
        for _ in made:
            ended.acquire()
        took_s = time.perf_counter() - began_s
        kept.queues.hurried = True
        worker.stop()
        thread.join()
    _check(kept, made)
    return len(made) / took_s, watched.running_s / took_s


def _submit(service: JobService, picture: Array) -> Job:
    return service.submit(
        Submission("me", MODEL, "1", encode_payload("pixels", picture[np.newaxis]), tier=GPU)
    )


def _check(kept: memory.Memory, made: Sequence[Job]) -> None:
    ended = [job for job in kept.table.jobs() if job.status is JobStatus.SUCCEEDED]
    if len(ended) != len(made):
        raise RuntimeError(f"{len(made) - len(ended)} of {len(made)} jobs did not succeed")
