"""How far a model is from each limit of Lambda, in the figures that placement decides by; pure."""

from dataclasses import dataclass

from onnxlift.placement import (
    LAMBDA_MAX_IMAGE_MB,
    LAMBDA_MAX_MEMORY_MB,
    LONGEST_REQUEST_MS,
    image_mb,
    needed_memory_mb,
    single_p95_ms,
)
from onnxlift_runtime.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Margin:
    """One limit: what the model needs of what is allowed, both in ``unit``."""

    limit: str
    needed: float
    allowed: float
    unit: str

    @property
    def left(self) -> float:
        """The part of the limit that is left; below 0 where it is broken."""
        return 1 - self.needed / self.allowed

    @property
    def broken(self) -> bool:
        """Whether the model cannot run on Lambda for this."""
        return self.needed > self.allowed


def margins(manifest: Manifest) -> tuple[Margin, ...]:
    """Every limit that placement looks at."""
    return (
        Margin("memory", needed_memory_mb(manifest), LAMBDA_MAX_MEMORY_MB, "MB"),
        Margin("image", image_mb(manifest), LAMBDA_MAX_IMAGE_MB, "MB"),
        Margin(
            "p95 of one request", single_p95_ms(manifest.measurements), LONGEST_REQUEST_MS, "ms"
        ),
    )
