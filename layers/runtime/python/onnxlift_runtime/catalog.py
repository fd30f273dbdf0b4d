"""Which models there are: found by name, and by version or label."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from onnxlift_runtime.errors import ModelNotFound, VersionNotFound
from onnxlift_runtime.manifest import Manifest

SIGNATURE: Final = "serving_default"


@dataclass(frozen=True, slots=True)
class Catalog:
    """Models by name, each with its versions, the newest last."""

    models: Mapping[str, tuple[Manifest, ...]]

    @classmethod
    def of(cls, manifests: Iterable[Manifest]) -> "Catalog":
        """Group manifests by model name and order the versions by number."""
        models: dict[str, list[Manifest]] = {}
        for manifest in manifests:
            models.setdefault(manifest.name, []).append(manifest)
        return cls(
            {name: tuple(sorted(found, key=_number)) for name, found in sorted(models.items())}
        )

    def versions(self, model: str) -> tuple[Manifest, ...]:
        """All versions of a model, the newest last; raises ``ModelNotFound``."""
        try:
            return self.models[model]
        except KeyError:
            known = ", ".join(self.models) or "none"
            raise ModelNotFound(f"model {model!r} does not exist; known models: {known}") from None

    def find(self, model: str, version: str | None = None, label: str | None = None) -> Manifest:
        """One version of a model: the one named, the one labelled, or the newest."""
        versions = self.versions(model)
        if version is None and label is None:
            return versions[-1]
        for manifest in versions:
            if (
                (label in manifest.version_labels)
                if label is not None
                else (manifest.version == version)
            ):
                return manifest
        asked = f"label {label!r}" if label is not None else f"version {version!r}"
        known = ", ".join(_describe(manifest) for manifest in versions)
        raise VersionNotFound(f"model {model!r} has no {asked}; it has: {known}")

    def __iter__(self) -> Any:
        return (manifest for versions in self.models.values() for manifest in versions)


def _number(manifest: Manifest) -> int:
    return int(manifest.version)


def _describe(manifest: Manifest) -> str:
    labels = f" ({', '.join(manifest.version_labels)})" if manifest.version_labels else ""
    return manifest.version + labels
