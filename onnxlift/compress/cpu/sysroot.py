"""An arm64 Debian with Python and the real aarch64 onnxruntime, in a folder: what qemu-aarch64
runs.

``python -m onnxlift.compress.cpu`` makes it in about a minute on Debian, as any user: apt-get reads
Debian's arm64 packages into a folder of their own without touching the machine's, and pip takes the
aarch64 wheels of the versions that are installed here. Elsewhere fill the folder from an arm64
machine: ``usr/bin/python3`` and ``site/``.
"""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from onnxlift.compress.cpu.mask import cache_folder

_DEBIAN: Final = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
_WHEELS: Final = ("numpy", "onnxruntime", "packaging", "protobuf", "flatbuffers")
_PLATFORMS: Final = (
    "manylinux_2_28_aarch64",
    "manylinux_2_27_aarch64",
    "manylinux_2_17_aarch64",
    "manylinux2014_aarch64",
)
_SITE: Final = "site"
_CPUINFO: Final = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid \
asimdrdm lrcpc dcpop asimddp ssbs
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

"""


def folder() -> Path:
    """Where the sysroot for the installed onnxruntime is kept."""
    return cache_folder() / f"arm64-onnxruntime-{importlib.metadata.version('onnxruntime')}"


def is_made() -> bool:
    """Whether it is there, complete."""
    return (folder() / _SITE / "onnxruntime").is_dir()


def python_command() -> list[str]:
    """The start of a command line that runs the arm64 Python under qemu as a Neoverse N1."""
    root = folder()
    return ["qemu-aarch64", "-cpu", "neoverse-n1", "-L", str(root), str(root / "usr/bin/python3")]


def python_path() -> str:
    """The value of PYTHONPATH that lets it find numpy and onnxruntime."""
    return str(folder() / _SITE)


def make() -> Path:
    """Make the sysroot and return its folder; raises ``CalledProcessError`` when a package cannot
    be had.
    """
    target = folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        root = Path(scratch) / "root"
        root.mkdir()
        for package in _download_debian(Path(scratch) / "apt"):
            _run(["dpkg-deb", "-x", str(package), str(root)])
        _link_loader(root)
        _describe_cpu(root)
        _install_wheels(root / _SITE, _python_version(root))
        shutil.rmtree(target, ignore_errors=True)
        root.rename(target)
    return target


def _download_debian(place: Path) -> list[Path]:
    for part in ("lists/partial", "cache/archives/partial"):
        (place / part).mkdir(parents=True)
    (place / "status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
        "Dir::State": str(place),
        "Dir::State::lists": str(place / "lists"),
        "Dir::State::status": str(place / "status"),
        "Dir::Cache": str(place / "cache"),
    }
    options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    _run(["apt-get", *options, "update", "-qq"])
    _run(
        [
            "apt-get",
            *options,
            "install",
            "-qq",
            "-y",
            "--no-install-recommends",
            "--download-only",
            *_DEBIAN,
        ]
    )
    return sorted((place / "cache/archives").glob("*.deb"))


def _link_loader(root: Path) -> None:
    """Debian's packages expect /lib to be a link into /usr/lib, which its base system brings; merge
    a real /lib.
    """
    lib = root / "lib"
    if lib.is_dir() and not lib.is_symlink():
        shutil.copytree(lib, root / "usr/lib", symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(lib)
    if not lib.exists():
        lib.symlink_to("usr/lib")


def _describe_cpu(root: Path) -> None:
    """Files that qemu opens instead of the host's, whose x86 description crashes onnxruntime's
    cpuinfo on arm64.
    """
    described = root / "sys/devices/system/cpu"
    described.mkdir(parents=True)
    for name in ("possible", "present"):
        (described / name).write_text("0\n", "ascii")
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text(_CPUINFO, "ascii")


def _python_version(root: Path) -> str:
    """Debian's Python as pip names it, such as 3.11."""
    return (root / "usr/bin/python3").resolve().name.removeprefix("python")


def _install_wheels(site: Path, version: str) -> None:
    wheels = [f"{name}=={importlib.metadata.version(name)}" for name in _WHEELS]
    platforms = [part for name in _PLATFORMS for part in ("--platform", name)]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
    ]
    _run([*command, "--python-version", version, *platforms, "--target", str(site), *wheels])


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})  # noqa: S603 - our own command
