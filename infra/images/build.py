"""One image from a list of files: a context with nothing else in it, and the engine's build."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from infra.assets import Files, copy_files
from infra.images.access import build_secrets
from infra.images.bases import base_of, require_base
from infra.images.engine import ContainerEngine


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """What an image is called, the files of its context, which of them is the Dockerfile, and what
    it starts from.

    ``base`` is empty for the one that the Dockerfile names; ``platform`` for that of this machine.
    """

    tag: str
    files: Files
    dockerfile: str
    base: str = ""
    platform: str = ""


def build_image(engine: ContainerEngine, recipe: ImageRecipe) -> str:
    """Build an image and return its tag; raises ``ImageFailed``."""
    base = recipe.base or base_of(recipe.files[recipe.dockerfile])
    require_base(engine, base)
    with tempfile.TemporaryDirectory(prefix="onnxlift-image-") as scratch:
        folder = Path(scratch)
        context = copy_files(recipe.files, folder / "context")
        secrets = [f"--secret=id={name},src={path}" for name, path in build_secrets(folder).items()]
        platform = [f"--platform={recipe.platform}"] if recipe.platform else []
        dockerfile = str(context / recipe.dockerfile)
        arguments = [
            "--quiet",
            "--file",
            dockerfile,
            "--tag",
            recipe.tag,
            f"--build-arg=BASE={base}",
        ]
        engine.run("build", *arguments, *platform, *secrets, str(context))
    return recipe.tag
