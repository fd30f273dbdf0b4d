"""How the CDK builds an image: from the files laid out for it, reaching the index as ``make
images`` does.
"""

import functools
from pathlib import Path
from typing import Any, Final

from aws_cdk import DockerBuildSecret, IgnoreMode, SymlinkFollowMode
from aws_cdk import aws_ecr_assets as ecr_assets

from infra.images.access import build_secrets
from infra.interpreter import ROOT

# The CDK builds long after synthesis, so that the file must stay.
FOLDER: Final = ROOT / ".onnxlift"


def build_options(dockerfile: str, platform: ecr_assets.Platform) -> dict[str, Any]:
    """Keyword arguments of an image asset whose folder holds links to the files that are shipped,
    and nothing else.
    """
    return {
        "file": dockerfile,
        "platform": platform,
        "follow_symlinks": SymlinkFollowMode.ALWAYS,
        "ignore_mode": IgnoreMode.DOCKER,
        **build_reach(),
    }


@functools.cache
def build_reach(folder: Path = FOLDER) -> dict[str, Any]:
    """Keyword arguments of an image asset: this machine's pip settings and certificates, as secrets
    of the build.

    They are not in the asset's hash: an image is not built again because another machine deploys
    it.
    """
    folder.mkdir(exist_ok=True)
    secrets = {
        name: DockerBuildSecret.from_src(str(path)) for name, path in build_secrets(folder).items()
    }
    if not secrets:
        return {}
    unhashed = ecr_assets.DockerImageAssetInvalidationOptions(build_secrets=False)
    return {"build_secrets": secrets, "invalidation": unhashed}
