"""The models that can be deployed: their artifacts, and where they run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from onnxlift.artifact import read_versions
from onnxlift.config import Config
from onnxlift.placement import Placement, needed_memory_mb, place, require_verified, together
from onnxlift_runtime.errors import ConfigInvalid
from onnxlift_runtime.manifest import Manifest, verify_files
from onnxlift_runtime.names import GPU, LAMBDA, resource_name

MAX_FUNCTION_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class DeployedModel:
    """One model with all its versions, which share an image and a function; the newest version
    comes last.
    """

    name: str
    folder: Path
    manifests: tuple[Manifest, ...]
    placement: Placement
    function_name: str

    @property
    def resource(self) -> str:
        """Its name in those of AWS resources."""
        return resource_name(self.name)

    @property
    def on_lambda(self) -> bool:
        """Whether it has functions of its own."""
        return LAMBDA in self.placement.tiers

    @property
    def on_gpu(self) -> bool:
        """Whether it has GPU workers."""
        return GPU in self.placement.tiers

    @property
    def memory_mb(self) -> int:
        """What all versions together need, or Lambda's memory where the model is placed there."""
        return self.placement.memory_mb or needed_memory_mb(together(self.manifests))

    @property
    def architecture(self) -> str:
        """The instruction set that the image is built for."""
        return self.manifests[0].architecture


def read_models(config: Config) -> tuple[tuple[DeployedModel, ...], dict[str, str]]:
    """The models whose artifacts are there, and by name what is to be done about the others.

    Raises ``PlacementImpossible`` for a placement that breaks a limit, ``ConfigInvalid`` for names
    or versions that cannot go together, and ``ArtifactCorrupt`` or ``ArtifactMissing`` for files
    that are not what was compressed: the function would refuse to load them.
    """
    versions = {name: read_versions(config, name) for name in config.models}
    missing = {
        name: f"model {name!r} is not compressed yet; run `onnxlift compress {name}`"
        for name, manifests in versions.items()
        if not manifests
    }
    return tuple(
        _check_model(config, name, found) for name, found in versions.items() if found
    ), missing


def tiers(models: Iterable[DeployedModel]) -> Mapping[str, tuple[str, ...]]:
    """The tiers of each model that has more, or another, than Lambda: what is not told is on Lambda
    alone.
    """
    return {model.name: model.placement.tiers for model in models if model.on_gpu}


def function_name(service: str, model: str) -> str:
    """The name of a model's predict function, which is how the API finds it; raises
    ``ConfigInvalid`` when too long.
    """
    name = f"{service}-{resource_name(model)}-predict"
    if len(name) > MAX_FUNCTION_NAME:
        raise ConfigInvalid(
            f"service {service!r} and model {model!r} make the function name {name!r} of "
            f"{len(name)} characters, "
            f"Lambda takes {MAX_FUNCTION_NAME}; shorten one of them"
        )
    return name


def _check_model(config: Config, name: str, manifests: tuple[Manifest, ...]) -> DeployedModel:
    folder = config.artifacts / name
    for manifest in manifests:
        verify_files(folder / manifest.version, manifest)
    _check_architecture(name, manifests)
    model = config.models[name]
    placement = place(together(manifests), model.placement)
    for manifest in manifests:
        require_verified(manifest, placement.tier, allowed=model.quality.allow_unverified)
    return DeployedModel(name, folder, manifests, placement, function_name(config.service, name))


def _check_architecture(name: str, manifests: Iterable[Manifest]) -> None:
    found = {manifest.architecture: manifest.version for manifest in manifests}
    if len(found) > 1:
        told = ", ".join(
            f"version {version} for {architecture}" for architecture, version in found.items()
        )
        raise ConfigInvalid(
            f"model {name!r} has {told}; one image holds one, so compress them for the same"
        )
