"""What AWS's base for Python adds to a system: the runtime client, boto3, the emulator, and the way
in.
"""

import platform
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from infra.images.standin.system import download_package, install_packages
from onnxlift_runtime.errors import ImageFailed

EMULATOR: Final = "usr/local/bin/aws-lambda-rie"
ENTRY_POINT: Final = "lambda-entrypoint.sh"
_PACKAGED: Final = "samcli/local/rapid/aws-lambda-rie-{}"  # in the wheel of aws-sam-cli
_MACHINES: Final = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
_EXECUTABLE: Final = 0o755


def add_emulator(folder: Path) -> None:
    """Add them to the system below ``folder``; raises ``ImageFailed``."""
    install_packages(folder, "awslambdaric", "boto3")
    (folder / EMULATOR).write_bytes(_emulator())
    (folder / EMULATOR).chmod(_EXECUTABLE)
    shutil.copy(Path(__file__).with_name(ENTRY_POINT), folder / ENTRY_POINT)
    (folder / ENTRY_POINT).chmod(_EXECUTABLE)
    (folder / "var/task").mkdir()


def _emulator() -> bytes:
    name = _PACKAGED.format(_MACHINES.get(platform.machine(), platform.machine()))
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(_wheel(Path(scratch))) as wheel:
        if name not in wheel.namelist():
            raise ImageFailed(f"the package aws-sam-cli has no {name}")
        return wheel.read(name)


def _wheel(folder: Path) -> Path:
    return download_package(folder, "aws-sam-cli")
