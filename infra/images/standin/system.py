"""A small Debian with Python 3.13, made with debootstrap from the mirror that this machine's own
apt reads.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from onnxlift_runtime.errors import ImageFailed, ToolMissing

SUITE: Final = "trixie"  # the first Debian with Python 3.13
PACKAGES: Final = ("ca-certificates", "python3")
SOURCES: Final = Path("/etc/apt")
# What a container never reads: caches, manuals, translations, and what only makes other packages.
UNREAD: Final = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "var/log",
)
_URI: Final = re.compile(r"https?://\S+")
_ARCHIVE: Final = re.compile(r"/debian/?$")


def make_system(folder: Path) -> None:
    """Install the system below ``folder``; raises ``ToolMissing`` with what to install, and
    ``ImageFailed``.
    """
    if shutil.which("debootstrap") is None:
        raise ToolMissing("debootstrap is not on this machine; Debian: apt-get install debootstrap")
    if os.geteuid():
        raise ToolMissing("a system can be made by root alone; run this as root")
    log = folder.with_suffix(".log")
    with log.open("w") as output:
        done = subprocess.run(  # noqa: S603
            _command(folder, mirror(SOURCES)), stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise ImageFailed(f"debootstrap failed: {' / '.join(log.read_text().splitlines()[-3:])}")
    for name in UNREAD:
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "usr/bin/python").symlink_to("python3")
    install_packages(folder, "pip")


def mirror(sources: Path) -> str:
    """The first Debian archive that apt's sources below this folder name; raises ``ToolMissing``
    where none does.
    """
    files = [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]
    lines = (
        line for path in files if path.is_file() for line in path.read_text("utf-8").splitlines()
    )
    addresses: Iterable[str] = (
        uri for line in lines if not line.lstrip().startswith("#") for uri in _URI.findall(line)
    )
    found = next((uri for uri in addresses if _ARCHIVE.search(uri)), None)
    if found is None:
        raise ToolMissing(f"no Debian archive in {sources}; a stand-in can be made on Debian alone")
    return found


def install_packages(folder: Path, *packages: str) -> None:
    """Install packages from the package index for the Python below ``folder``, with this machine's
    own pip.
    """
    target = folder / "usr/local/lib/python3.13/dist-packages"
    done = subprocess.run(  # noqa: S603
        [*_pip("install"), "--target", str(target), "--python-version", "3.13", *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ImageFailed(f"pip failed: {_last(done.stderr)}")


def download_package(folder: Path, package: str) -> Path:
    """The wheel of one package alone, as a file below ``folder``."""
    done = subprocess.run(  # noqa: S603
        [*_pip("download"), "--no-deps", "--dest", str(folder), package],
        capture_output=True,
        text=True,
        check=False,
    )
    found = list(folder.glob("*.whl"))
    if done.returncode or not found:
        raise ImageFailed(f"pip failed: {_last(done.stderr)}")
    return found[0]


def _command(folder: Path, archive: str) -> list[str]:
    return [
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        SUITE,
        str(folder),
        archive,
    ]


def _pip(command: str) -> Iterable[str]:
    return (
        sys.executable,
        "-m",
        "pip",
        command,
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary=:all:",
    )


def _last(text: str) -> str:
    return " / ".join(line for line in text.strip().splitlines() if not line.startswith("WARNING"))[
        -500:
    ]
