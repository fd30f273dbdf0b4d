"""Where a model can run, decided from its manifest and the limits of AWS Lambda; pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from onnxlift.hosting import Placement as Wish
from onnxlift_runtime.dataplane.routing import API_TIMEOUT_S, PLANNED
from onnxlift_runtime.errors import PlacementImpossible
from onnxlift_runtime.manifest import Manifest, Measurements
from onnxlift_runtime.names import GPU, LAMBDA

LAMBDA_MAX_MEMORY_MB: Final = 10_240
LAMBDA_MAX_IMAGE_MB: Final = 10_240
API_TIMEOUT_MS: Final = API_TIMEOUT_S * 1000
IMAGE_BASE_MB: Final = 450  # our image without an artifact
MEMORY_HEADROOM: Final = 1.3
MEMORY_STEP_MB: Final = 256
MEMORY_PER_VCPU_MB: Final = 1_769  # Lambda gives one vCPU for each 1,769 MB
LONGEST_REQUEST_MS: Final = API_TIMEOUT_MS * PLANNED


@dataclass(frozen=True, slots=True)
class Placement:
    """The decision: the tier, Lambda's memory (0 on the GPU), and the limit that forced it.

    ``fallback`` is whether a model on Lambda has GPU workers as well.
    """

    tier: Literal["lambda", "gpu"]
    memory_mb: int
    reason: str
    fallback: bool = False

    @property
    def tiers(self) -> tuple[str, ...]:
        """Every tier that the model has, the one it is placed on first."""
        return (LAMBDA, GPU) if self.fallback and self.tier == LAMBDA else (self.tier,)

    def __str__(self) -> str:
        size = f" with {self.memory_mb:,} MB" if self.memory_mb else ""
        return f"{self.tier}{size}: {self.reason}"


def place(manifest: Manifest, wish: Wish | None = None) -> Placement:
    """Decide the placement of one artifact; raises ``PlacementImpossible`` where the user's wish
    breaks a limit.
    """
    wish = wish or Wish()
    obstacle = lambda_obstacle(manifest)
    if wish.tier == "gpu":
        return Placement("gpu", 0, "the configuration asks for it")
    if obstacle and wish.tier == "lambda":
        raise PlacementImpossible(
            f"model {manifest.name!r} cannot run on Lambda: {obstacle}; set placement.tier to 'gpu'"
        )
    if obstacle:
        return Placement("gpu", 0, obstacle)
    needed_mb = needed_memory_mb(manifest)
    if wish.memory_mb is not None and wish.memory_mb < needed_mb:
        raise PlacementImpossible(
            f"model {manifest.name!r} needs {needed_mb:,} MB, placement.memory_mb allows "
            f"{wish.memory_mb:,}"
        )
    if wish.memory_mb is not None:
        return Placement(
            "lambda", wish.memory_mb, "the configuration sets the memory", wish.fallback
        )
    memory_mb = max(needed_mb, MEMORY_PER_VCPU_MB)
    why = (
        "one whole vCPU"
        if memory_mb == MEMORY_PER_VCPU_MB
        else f"{MEMORY_HEADROOM} × the measured peak"
    )
    peak_mb = manifest.measurements.peak_memory_mb
    told = (
        f"peak {peak_mb:,.0f} MB, p95 {single_p95_ms(manifest.measurements):,.2f} ms; memory "
        f"gives {why}"
    )
    return Placement("lambda", memory_mb, told, wish.fallback)


def require_verified(manifest: Manifest, tier: str, *, allowed: bool) -> None:
    """Refuse what runs on CPUs of which none was verified, unless the configuration has
    ``allowed`` it; raises ``PlacementImpossible``.
    """
    unseen = manifest.not_verified_on
    if allowed or tier == GPU or manifest.verified_on or not unseen:
        return
    name, why = next(iter(unseen.items()))
    raise PlacementImpossible(
        f"model {manifest.name!r} version {manifest.version} was verified on none of the "
        f"instruction sets that will serve it ({name}: {why}); compress it where one can be "
        f"reached, or set quality.allow_unverified = true"
    )


def together(versions: Sequence[Manifest]) -> Manifest:
    """All versions of a model as one manifest to place, the newest's name on it.

    One process opens them all, and the slowest sets the pace.
    """
    slowest = max((manifest.measurements for manifest in versions), key=single_p95_ms)
    peak_mb = sum(manifest.measurements.peak_memory_mb for manifest in versions)
    files = tuple(entry for manifest in versions for entry in manifest.files)
    return replace(versions[-1], files=files, measurements=replace(slowest, peak_memory_mb=peak_mb))


def tell_tiers(placements: Mapping[str, Placement]) -> str:
    """The tiers of each model as ``Settings.tiers`` holds them."""
    return ",".join(
        f"{model}={'+'.join(placement.tiers)}" for model, placement in placements.items()
    )


def needed_memory_mb(manifest: Manifest) -> int:
    """Lambda memory in MB that holds the measured peak with headroom, in steps of 256 MB."""
    return (
        math.ceil(manifest.measurements.peak_memory_mb * MEMORY_HEADROOM / MEMORY_STEP_MB)
        * MEMORY_STEP_MB
    )


def lambda_obstacle(manifest: Manifest) -> str | None:
    """The limit of Lambda that this artifact breaks, in words with both figures; None where it
    fits.
    """
    needed_mb, size_mb, p95_ms = (
        needed_memory_mb(manifest),
        image_mb(manifest),
        single_p95_ms(manifest.measurements),
    )
    if needed_mb > LAMBDA_MAX_MEMORY_MB:
        return f"needs {needed_mb:,} MB of memory, Lambda gives at most {LAMBDA_MAX_MEMORY_MB:,}"
    if size_mb > LAMBDA_MAX_IMAGE_MB:
        return f"its image is {size_mb:,} MB, Lambda takes at most {LAMBDA_MAX_IMAGE_MB:,}"
    if p95_ms > LONGEST_REQUEST_MS:
        return f"one inference takes {p95_ms / 1000:.1f} s, the API waits {API_TIMEOUT_S} s"
    return None


def image_mb(manifest: Manifest) -> int:
    """The size of a model's image in MB."""
    return IMAGE_BASE_MB + manifest.size_bytes // 2**20


def single_p95_ms(measurements: Measurements) -> float:
    """p95 at the smallest measured batch, where a single request lands."""
    return min(measurements.latency, key=lambda item: item.batch_size).p95_ms
