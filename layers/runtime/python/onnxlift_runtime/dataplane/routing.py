"""Where a request is worked on, pure: answered at once, or queued for Lambda or for a GPU; and why
there.

The time is estimated from what was measured when the model was compressed: a straight line through
the p95 of each batch size. A GPU was not measured, so a request that goes there is promised no
time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from onnxlift_runtime.errors import ModelUnavailable, PayloadTooLarge
from onnxlift_runtime.jobs.preferences import Preference
from onnxlift_runtime.manifest import Latency, Manifest
from onnxlift_runtime.names import GPU, LAMBDA
from onnxlift_runtime.settings import MIB, Limits, Settings

HEADER: Final = "X-Onnxlift-Route"
API_TIMEOUT_S: Final = 29  # API Gateway's own quota
# Of a time limit, this much is planned with: a cold start, another processor and the transfer take
# the rest.
PLANNED: Final = 0.7
PREFERRED: Final = "the caller prefers a job (Prefer: respond-async)"
GPU_ALONE: Final = "the model runs on GPU workers alone"
ESCALATED: Final = "lambda ran out of memory or time"
MOVED: Final = "the model was deployed anew and runs elsewhere now"
_COPIES: Final = 2  # of inputs and outputs: as they travel, and as arrays


@dataclass(frozen=True, slots=True)
class Load:
    """How much a request is: rows of the batch dimension, bytes of its inputs, and those of its
    answer at least.
    """

    rows: int = 1
    input_bytes: int = 0
    answer_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Hosting:
    """What a service has for one model: its tiers, whether it takes jobs, and the bounds of each
    way.

    ``memory_mb`` is that of the model's functions, 0 where it is not known.
    """

    tiers: Sequence[str] = (LAMBDA,)
    jobs: bool = True
    job_timeout_s: int = 300
    memory_mb: int = 0
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def of(cls, settings: Settings, model: str, memory_mb: int = 0) -> "Hosting":
        """What a function was told about a model."""
        return cls(
            settings.tiers_of(model), bool(settings.jobs_table), settings.job_timeout_s, memory_mb
        )


@dataclass(frozen=True, slots=True)
class Route:
    """The decision: the tier, whether it is answered at once or becomes a job, and why."""

    tier: str
    at_once: bool
    reason: str

    def __str__(self) -> str:
        """The value of ``X-Onnxlift-Route``: its reason is a quoted string of ASCII (RFC 8941
        section 3.3.3).
        """
        told = "".join(letter if " " <= letter <= "~" else "?" for letter in self.reason)
        told = told.replace("\\", "\\\\").replace('"', '\\"')
        return f'{self.tier}; reason="{told}"'


@dataclass(frozen=True, slots=True)
class Pace:
    """The time of an inference as a straight line: ``base_ms`` and ``row_ms`` for each row."""

    base_ms: float
    row_ms: float

    @classmethod
    def of(cls, latency: Sequence[Latency]) -> "Pace | None":
        """The least-squares line through the measured p95; never falling, never below zero. None
        without a measure.
        """
        if not latency:
            return None
        count = len(latency)
        rows = [item.batch_size for item in latency]
        times = [item.p95_ms for item in latency]
        mean_rows, mean_time = sum(rows) / count, sum(times) / count
        spread = sum((row - mean_rows) ** 2 for row in rows)
        if spread:
            slope = (
                sum((row - mean_rows) * time for row, time in zip(rows, times, strict=True))
                / spread
            )
            base = mean_time - slope * mean_rows
            if slope >= 0 and base >= 0:
                return cls(base, slope)
            if slope < 0:
                return cls(max(times), 0.0)
        return cls(
            0.0,
            sum(row * time for row, time in zip(rows, times, strict=True))
            / sum(row**2 for row in rows),
        )

    def time_ms(self, rows: int) -> float:
        """What so many rows take together, in milliseconds."""
        return self.base_ms + self.row_ms * rows

    def rows_within(self, time_ms: float) -> int:
        """How many rows fit into so much time; 0 where not even one does."""
        if self.time_ms(1) > time_ms:
            return 0
        return math.floor((time_ms - self.base_ms) / self.row_ms) if self.row_ms else 2**31


def choose(load: Load, manifest: Manifest, preference: Preference, hosting: Hosting) -> Route:
    """Decide one request.

    Raises ``PayloadTooLarge`` with both figures where it fits nowhere, and ``ModelUnavailable``
    where a model that runs on GPU workers alone belongs to a service without jobs.
    """
    if LAMBDA not in hosting.tiers:
        if not hosting.jobs:
            raise ModelUnavailable(
                f"model {manifest.name!r} runs on GPU workers, which this service has no jobs for"
            )
        return Route(GPU, False, PREFERRED if preference.job else GPU_ALONE)
    pace = Pace.of(manifest.measurements.latency)
    excess = _excess(load, manifest, pace, hosting)
    if excess and not hosting.jobs:
        raise PayloadTooLarge(
            f"{excess}, and this service has no jobs{_advice(load, pace, API_TIMEOUT_S)}"
        )
    if preference.job and hosting.jobs:
        return _queue(load, manifest, pace, hosting, PREFERRED)
    excess = excess or (_impatience(load, manifest, pace, preference) if hosting.jobs else "")
    if excess:
        return _queue(load, manifest, pace, hosting, excess)
    return _at_once(load, manifest, pace)


def choose_without_jobs(load: Load, manifest: Manifest, hosting: Hosting) -> Route:
    """Decide a request of a protocol that knows no jobs: Lambda answers it at once, GPU workers as
    soon as they can.

    Raises ``PayloadTooLarge`` and ``ModelUnavailable``.
    """
    if LAMBDA not in hosting.tiers:
        return choose(load, manifest, Preference(), hosting)
    pace = Pace.of(manifest.measurements.latency)
    if excess := _excess(load, manifest, pace, hosting):
        path = f"POST /v2/models/{manifest.name}/infer"
        told = f"; {path} answers it with a job" if hosting.jobs else ""
        raise PayloadTooLarge(f"{excess}{_advice(load, pace, API_TIMEOUT_S)}{told}")
    return _at_once(load, manifest, pace)


def _at_once(load: Load, manifest: Manifest, pace: Pace | None) -> Route:
    reason = f"{_told_time(load, manifest, pace)}, the API waits {API_TIMEOUT_S} s"
    return Route(LAMBDA, True, reason)


def _queue(load: Load, manifest: Manifest, pace: Pace | None, hosting: Hosting, why: str) -> Route:
    """On Lambda where a job may take as long and needs no more memory, else on the GPU."""
    limit_s, has_gpu = hosting.job_timeout_s, GPU in hosting.tiers
    needed_mb = _needed_mb(load, manifest)
    if hosting.memory_mb and needed_mb > hosting.memory_mb:
        reason = (
            f"{_told_rows(load, manifest)} need about {needed_mb:,.0f} MB, Lambda has "
            f"{hosting.memory_mb:,} MB"
        )
        advice = "; send fewer rows at a time"
    elif pace and pace.time_ms(load.rows) > limit_s * 1000 * PLANNED:
        reason = (
            f"{_told_time(load, manifest, pace)}, "
            f"{_told_limit('a job on Lambda has', limit_s, load, pace)}"
        )
        advice = _advice(load, pace, limit_s)
    else:
        return Route(LAMBDA, False, why)
    if not has_gpu:
        raise PayloadTooLarge(f"{reason}, and the model has no GPU workers{advice}")
    return Route(GPU, False, reason)


def _excess(load: Load, manifest: Manifest, pace: Pace | None, hosting: Hosting) -> str:
    """The limit that an answer at once would break, with both figures; "" where there is none."""
    if pace and pace.time_ms(load.rows) > API_TIMEOUT_S * 1000 * PLANNED:
        return (
            f"{_told_time(load, manifest, pace)}, "
            f"{_told_limit('the API waits', API_TIMEOUT_S, load, pace)}"
        )
    max_bytes = hosting.limits.max_answer_bytes
    if load.answer_bytes > max_bytes:
        return (
            f"the answer takes at least {load.answer_bytes:,} bytes, one response carries "
            f"{max_bytes:,}"
        )
    needed_mb = _needed_mb(load, manifest)
    if hosting.memory_mb and needed_mb > hosting.memory_mb:
        return (
            f"{_told_rows(load, manifest)} need about {needed_mb:,.0f} MB, Lambda has "
            f"{hosting.memory_mb:,} MB"
        )
    return ""


def _impatience(load: Load, manifest: Manifest, pace: Pace | None, preference: Preference) -> str:
    """Why the caller would not wait for an answer at once; a caller that says nothing waits as long
    as the API.
    """
    if pace and 0 < preference.wait_s * 1000 < pace.time_ms(load.rows):
        return f"{_told_time(load, manifest, pace)}, the caller waits {preference.wait_s} s"
    return ""


def _needed_mb(load: Load, manifest: Manifest) -> float:
    """The peak that was measured, and what this request brings and takes along."""
    return (
        manifest.measurements.peak_memory_mb
        + _COPIES * (load.input_bytes + load.answer_bytes) / MIB
    )


def _told_limit(words: str, limit_s: int, load: Load, pace: Pace) -> str:
    """A time limit; where the request would just fit, also how much of it is planned with."""
    just_fits = pace.time_ms(load.rows) <= limit_s * 1000
    planned = f", of which {limit_s * PLANNED:.0f} s are planned with" if just_fits else ""
    return f"{words} {limit_s} s{planned}"


def _told_rows(load: Load, manifest: Manifest) -> str:
    if not manifest.max_batch_size:
        return "the inputs"
    return "1 row" if load.rows == 1 else f"{load.rows:,} rows"


def _told_time(load: Load, manifest: Manifest, pace: Pace | None) -> str:
    if pace is None:
        return "its time was not measured"
    who = _told_rows(load, manifest) if manifest.max_batch_size else "one inference"
    verb = "take" if who.endswith("rows") else "takes"
    return f"{who} {verb} about {_duration(pace.time_ms(load.rows))}"


def _advice(load: Load, pace: Pace | None, limit_s: int) -> str:
    rows = pace.rows_within(limit_s * 1000 * PLANNED) if pace else 0
    return f"; send at most {rows:,} rows at a time" if 0 < rows < load.rows else ""


def _duration(time_ms: float) -> str:
    if time_ms < 10:
        return f"{time_ms:.2g} ms"
    if time_ms < 1000:
        return f"{time_ms:.0f} ms"
    return f"{time_ms / 1000:.1f} s" if time_ms < 10_000 else f"{time_ms / 1000:,.0f} s"
