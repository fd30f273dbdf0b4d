"""What is in an image, read from its files without running it, so that one for another processor
can be read too.
"""

import re
import tarfile
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from infra.images.engine import ContainerEngine

PACKAGES: Final = "opt/python/"
MODELS: Final = "opt/models/"
# Engines put these into every container that they make, of whatever image.
_ENGINES_OWN: Final = re.compile(
    r"\.dockerenv|(dev|proc|sys|run)(/.*)?|etc/(hostname|hosts|resolv\.conf|mtab)"
)


def list_files(engine: ContainerEngine, image: str) -> dict[str, int]:
    """The size in bytes of every file of an image by its path, which has no leading slash; links
    count as nothing.
    """
    container = engine.run("create", image, "true")
    try:
        with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
            engine.run("export", "--output", archive.name, container)
            with tarfile.open(archive.name) as tar:
                found = {
                    member.name.removeprefix("./"): member.size
                    for member in tar
                    if not member.isdir()
                }
    finally:
        engine.attempt("rm", "--force", container)
    return {name: size for name, size in found.items() if not _ENGINES_OWN.fullmatch(name)}


def added_files(files: Mapping[str, int], base: Mapping[str, int]) -> dict[str, int]:
    """The files that an image has beyond its base, or with another size."""
    return {name: size for name, size in files.items() if base.get(name) != size}


def package_sizes(files: Mapping[str, int]) -> dict[str, int]:
    """Bytes of each installed package, its libraries and its metadata included, largest first."""
    sizes: Counter[str] = Counter()
    for name, size in files.items():
        if name.startswith(PACKAGES):
            sizes[package_of(name)] += size
    return dict(sizes.most_common())


def package_of(name: str) -> str:
    """The package that a file below ``PACKAGES`` belongs to: ``numpy`` for one in
    ``numpy.libs``.
    """
    folder = Path(name.removeprefix(PACKAGES)).parts[0]
    if folder == "__pycache__":  # of packages that are one file
        folder = Path(name).name
    return re.split(r"[-.]", folder)[0]


def artifact_bytes(files: Mapping[str, int]) -> int:
    """What the models take."""
    return sum(size for name, size in files.items() if name.startswith(MODELS))
