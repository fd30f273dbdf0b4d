"""Every image of a service: one for each model on Lambda, and the GPU worker's."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from infra.assets import DOCKERFILE, WORKER_DOCKERFILE, image_files, worker_files
from infra.images.build import ImageRecipe
from infra.models import DeployedModel

PLATFORMS: Final = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}


def model_recipe(root: Path, service: str, models: Iterable[DeployedModel]) -> ImageRecipe:
    """The image of a model's functions; of several models in tests alone, where one container
    answers for all.
    """
    chosen = tuple(models)
    files = {name: path for model in chosen for name, path in image_files(root, model).items()}
    return ImageRecipe(
        f"{service}/{chosen[0].resource}:latest",
        files,
        DOCKERFILE,
        platform=PLATFORMS[chosen[0].architecture],
    )


def worker_recipe(root: Path, service: str) -> ImageRecipe:
    """The image of the GPU worker; onnxruntime-gpu is made for x86 alone."""
    return ImageRecipe(
        f"{service}/gpu-worker:latest",
        worker_files(root),
        WORKER_DOCKERFILE,
        platform="linux/amd64",
    )
