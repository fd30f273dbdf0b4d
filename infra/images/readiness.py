"""Whether this machine can build the images of a deployment, looked at before the CDK creates
anything.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from infra.assets import DOCKERFILE, WORKER_DOCKERFILE
from infra.images.bases import base_of, is_stand_in
from infra.images.engine import CHOSEN, ContainerEngine, find_engine
from onnxlift_runtime.errors import ImageFailed

ENDPOINT: Final = "AWS_ENDPOINT_URL"  # where an emulator answers in AWS's place


def deploying_environment(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What the CDK must be told so that it builds with the engine that answers here.

    Raises ``ToolMissing`` where none does, and ``ImageFailed`` where an image that stands for a
    base, for tests alone, would be sent to a real account.
    """
    engine = find_engine(root / ".onnxlift")
    if not environ.get(ENDPOINT):
        _refuse_stand_ins(engine, root)
    return {**engine.environment, CHOSEN: engine.program}


def _refuse_stand_ins(engine: ContainerEngine, root: Path) -> None:
    for dockerfile in (DOCKERFILE, WORKER_DOCKERFILE):
        base = base_of(root / dockerfile)
        if engine.has_image(base) and is_stand_in(engine, base):
            raise ImageFailed(
                f"{base} is a stand-in on this machine, good for tests alone; remove it before you "
                f"deploy, so that the "
                f"real one is fetched: {engine.program} rmi {base}"
            )
