"""What the worker measures, in Triton's split, as CloudWatch's embedded metric format: lines on
standard output.

``queue`` is how long a request waited for others, ``compute_input`` the time to join its arrays
with theirs, ``compute_infer`` the inference, ``compute_output`` the time to take the answers apart
again; all in microseconds
(https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/metrics.html).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from onnxlift_runtime.dataplane.batching import Arrays, Run
from onnxlift_runtime.jobs.metrics import COUNT, Tally
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.tensors.arrays import Array

MICROSECONDS: Final = "Microseconds"
UNITS: Final = {
    "requests_succeeded": COUNT,
    "requests_failed": COUNT,
    "inferences": COUNT,
    "batch_size": COUNT,
    "queue_us": MICROSECONDS,
    "compute_input_us": MICROSECONDS,
    "compute_infer_us": MICROSECONDS,
    "compute_output_us": MICROSECONDS,
}


@dataclass(frozen=True, slots=True)
class Lap:
    """The parts of one batch's time on the device, in seconds."""

    input_s: float
    infer_s: float
    output_s: float


class Stopwatch:
    """Runs models as ``run`` does, and knows how long each part took from its making on."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._began_s = self._first_s = self._last_s = perf_counter()
        self._infer_s = 0.0

    def run(self, manifest: Manifest, feeds: Arrays, outputs: Sequence[str]) -> dict[str, Array]:
        """Run once, and count the time even where it fails."""
        began_s = perf_counter()
        if not self._infer_s:
            self._first_s = began_s
        try:
            return self._run(manifest, feeds, outputs)
        finally:
            self._last_s = perf_counter()
            self._infer_s += self._last_s - began_s

    def lap(self) -> Lap:
        """The parts so far: what came before the first run, all runs, and what came after the
        last.
        """
        return Lap(self._first_s - self._began_s, self._infer_s, perf_counter() - self._last_s)


class Metrics:
    """What was measured since it was written last, by model; safe to use from several threads."""

    def __init__(self, service: str) -> None:
        self._tally = Tally(service, UNITS)

    def note_batch(self, model: str, rows: int, waited_s: Sequence[float], lap: Lap) -> None:
        """One batch: its rows, how long each of its requests waited, and its time on the device."""
        measured = {
            "inferences": [1],
            "batch_size": [rows],
            "queue_us": [round(seconds * 1e6) for seconds in waited_s],
            "compute_input_us": [round(lap.input_s * 1e6)],
            "compute_infer_us": [round(lap.infer_s * 1e6)],
            "compute_output_us": [round(lap.output_s * 1e6)],
        }
        self._tally.add({"model": model}, measured)

    def note_job(self, model: str, *, succeeded: bool) -> None:
        """One job that ended here."""
        self._tally.add(
            {"model": model}, {"requests_succeeded" if succeeded else "requests_failed": [1]}
        )

    def write(self) -> None:
        """Write what was measured since the last time."""
        self._tally.write()
