"""The artifacts of the configured models, as far as there are any, and where each model is
placed.
"""

from collections.abc import Mapping
from pathlib import Path

from onnxlift.config import Config
from onnxlift.machine import architecture
from onnxlift.placement import Placement, place, require_verified, together
from onnxlift_runtime.errors import ArtifactCorrupt
from onnxlift_runtime.manifest import MANIFEST_NAME, Manifest, read_manifest
from onnxlift_runtime.names import GPU


def read_versions(config: Config, model: str) -> tuple[Manifest, ...]:
    """Every version of a model, the newest last; none where the configured one is not compressed
    yet.

    Raises ``ArtifactCorrupt``, also for a folder that another model or version was put into.
    """
    if not (config.artifact_folder(model) / MANIFEST_NAME).is_file():
        return ()
    found = (
        _read_version(path.parent) for path in (config.artifacts / model).glob(f"*/{MANIFEST_NAME}")
    )
    return tuple(sorted(found, key=lambda manifest: int(manifest.version)))


def read_placements(config: Config) -> Mapping[str, Placement]:
    """The placement of every model that has an artifact; raises ``PlacementImpossible`` and
    ``ArtifactCorrupt``.
    """
    versions = {name: read_versions(config, name) for name in config.models}
    return {
        name: place(together(found), config.models[name].placement)
        for name, found in versions.items()
        if found
    }


def require_verified_here(config: Config) -> None:
    """Refuse models for another architecture than this machine's that were verified nowhere; raises
    ``PlacementImpossible``.
    """
    for name, model in config.models.items():
        for manifest in read_versions(config, name):
            native = manifest.architecture == architecture()
            allowed = native or model.quality.allow_unverified
            require_verified(manifest, model.placement.tier, allowed=allowed)


def gpu_placements(config: Config) -> Mapping[str, Placement]:
    """Of these, the models that have GPU workers."""
    return {name: found for name, found in read_placements(config).items() if GPU in found.tiers}


def read_tiers(config: Config) -> Mapping[str, tuple[str, ...]]:
    """The tiers of each model that has more, or another, than Lambda."""
    return {name: found.tiers for name, found in gpu_placements(config).items()}


def _read_version(folder: Path) -> Manifest:
    manifest = read_manifest(folder)
    if (manifest.name, manifest.version) != (folder.parent.name, folder.name):
        raise ArtifactCorrupt(
            f"{folder} holds model {manifest.name!r} version {manifest.version}; a folder is named "
            f"<model>/<version>"
        )
    return manifest
