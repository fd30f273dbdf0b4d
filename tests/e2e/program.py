"""What ``CDK_DOCKER`` names for the emulator: builds and tags with this machine's engine, and
pushes by registering.

``cdk`` logs in to, and pushes to, a host name that is only Amazon's. The emulator starts images
from this machine's engine under that very name, so that nothing has to travel: its registry is told
that the image is there.
"""

import json
import sys
from pathlib import Path
from typing import Final

import boto3

from infra.images.engine import ContainerEngine, find_engine

ROOT: Final = Path(__file__).resolve().parents[2]
MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"


def main(arguments: list[str]) -> int:
    """Do what docker would do for a command of cdk's; returns the status."""
    if arguments[0] == "login":
        return 0
    engine = find_engine(ROOT / ".onnxlift")
    if arguments[0] == "push":
        _register(engine, arguments[-1])
        return 0
    done = engine.attempt(*arguments)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


def _register(engine: ContainerEngine, name: str) -> None:
    """Tell the emulator's registry, whose manifest is no more than the image's identity."""
    (image,) = json.loads(engine.run("image", "inspect", name))
    repository, _, tag = name.partition("/")[2].rpartition(":")
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"digest": image["Id"]},
        "layers": [],
    }
    boto3.client("ecr", region_name=name.split(".")[3]).put_image(
        repositoryName=repository,
        imageTag=tag,
        imageManifest=json.dumps(manifest),
        imageManifestMediaType=MANIFEST,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
