"""A device with little memory and a source of models that fails, for the tests of what a worker
does about it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_fallback.models.loading import Models
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.dataplane.session import CPU, Device
from onnxlift_runtime.errors import MemoryExhausted, ModelTooLarge
from onnxlift_runtime.manifest import Latency, Manifest, Measurements
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors.arrays import Array
from tests.support import builders

ROWS = np.ones((4, 4), np.float32)


class Memory:
    """A device with room for so many rows at once; 0 rows of room fail to open. It remembers what
    it ran.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.ran: list[int] = []

    def open(self, _folder: Path, _manifest: Manifest, _device: Device) -> Any:
        if not self.rows:
            raise ModelTooLarge("does not fit the memory")
        return self

    def run(self, feeds: Mapping[str, Array], _outputs: Sequence[str]) -> dict[str, Array]:
        self.ran.append(len(feeds["x"]))
        if len(feeds["x"]) > self.rows:
            raise MemoryExhausted("Failed to allocate memory")
        return {"y": feeds["x"] * 2}


class Source:
    """Where models' folders come from: it fails as often as it is told to, and counts."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.fetched: list[str] = []

    def fetch(self, manifest: Manifest) -> Path:
        self.fetched.append(manifest.name)
        if self.failures:
            raise self.failures.pop(0)
        return Path("unused")


def models_of(memory: Memory, source: Source, *manifests: Manifest, **changes: Any) -> Models:
    changes = {"limits": Limits(), **changes}
    return Models(Catalog.of(manifests), CPU, source.fetch, memory.open, **changes)


def named(name: str, peak_memory_mb: float = 60.0, **changes: Any) -> Manifest:
    measured = Measurements(5.0, peak_memory_mb, (Latency(1, 0.1, 0.2),), "test", 1, "1.31.1")
    return builders.manifest(name=name, measurements=measured, **changes)


def messages(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()]
