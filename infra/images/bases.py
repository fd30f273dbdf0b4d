"""What our images start from: the name in their Dockerfile, and whether it is here or can be
fetched.
"""

import re
from pathlib import Path
from typing import Final

from infra.images.engine import ContainerEngine
from onnxlift_runtime.errors import ImageFailed

STAND_IN: Final = "onnxlift.stand-in"  # the label of an image that stands for a base
_BASE: Final = re.compile(r"^ARG BASE=(\S+)$", re.MULTILINE)


def base_of(dockerfile: Path) -> str:
    """The image that a Dockerfile of ours starts from unless a build argument names another."""
    found = _BASE.search(dockerfile.read_text("utf-8"))
    if found is None:
        raise ImageFailed(f"{dockerfile} has no line ARG BASE=<image>")
    return found[1]


def require_base(engine: ContainerEngine, name: str) -> None:
    """Fetch a base that is not here yet; raises ``ImageFailed`` with the way around a registry out
    of reach.
    """
    if engine.has_image(name):
        return
    try:
        engine.run("pull", "--quiet", name)
    except ImageFailed as error:
        raise ImageFailed(
            f"the base image {name} is not here and cannot be fetched; where no registry can be "
            f"reached, "
            f"`make stand-ins` makes an image for tests that stands for it ({error})"
        ) from error


def is_stand_in(engine: ContainerEngine, name: str) -> bool:
    """Whether an image, or what it starts from, is one that we made to stand for a base: good for
    tests alone.
    """
    label = f'{{{{index .Config.Labels "{STAND_IN}"}}}}'
    return engine.run("image", "inspect", "--format", label, name) == "true"
