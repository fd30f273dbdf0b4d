"""What there is to serve: the artifacts found, and the configured models that still lack one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onnxlift.artifact import read_tiers
from onnxlift.config import Config
from onnxlift.units import size
from onnxlift_runtime.manifest import MANIFEST_NAME, Manifest, read_manifests


@dataclass(frozen=True, slots=True)
class Inventory:
    """Artifacts that can be served, and for every other configured model why it is not."""

    served: tuple[Manifest, ...]
    skipped: Mapping[str, str]
    tiers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def lines(self) -> tuple[str, ...]:
        """One line for each version served and each model skipped."""
        found = (
            f"serving {item.name} version {item.version} ({self._describe(item)})"
            for item in self.served
        )
        return (*found, *(f"skipping {name}: {why}" for name, why in self.skipped.items()))

    def _describe(self, manifest: Manifest) -> str:
        tiers = self.tiers.get(manifest.name, ())
        where = f", on {' and '.join(tiers)}" if tiers else ""
        return f"{manifest.recipe}, {size(manifest.size_bytes)}{where}"


def take_inventory(
    config: Config, models_dir: Path, failures: Mapping[tuple[str, str], str]
) -> Inventory:
    """Read the manifests below ``models_dir``; ``failures`` holds the versions that could not be
    opened.

    Raises ``ArtifactCorrupt`` where a manifest cannot be read.
    """
    served = tuple(
        item for item in read_manifests(models_dir) if (item.name, item.version) not in failures
    )
    missing = {
        name: f"{_relative(config.artifact_folder(name))} does not exist; run `onnxlift compress "
        f"{name}`"
        for name in config.models
        if not (config.artifact_folder(name) / MANIFEST_NAME).is_file()
    }
    broken = {f"{name} version {version}": why for (name, version), why in failures.items()}
    return Inventory(served, missing | broken, read_tiers(config))


def _relative(path: Path) -> Path:
    """The path from the current folder where it lies below it: that is what a user would type."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
