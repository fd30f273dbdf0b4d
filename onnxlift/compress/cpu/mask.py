"""The library that hides AVX-512, VNNI and AMX from a process: compiled once by the system's
compiler, then kept.
"""

import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("mask.c")
_COMPILERS: Final = ("cc", "gcc", "clang")


def obstacle() -> str | None:
    """Why this machine cannot mask its CPU, or None when it can."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return "masking needs Linux on an x86-64 CPU"
    if "cpuid_fault" not in cpu_flags():
        return "this CPU (or its hypervisor) does not offer cpuid_fault"
    if _compiler() is None:
        return "there is no C compiler (cc, gcc or clang) on the path"
    return None


def cpu_flags() -> frozenset[str]:
    """The flags of the first CPU that Linux lists; none elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return frozenset(line.partition(":")[2].split())


def library() -> Path:
    """The compiled library, made at first use; named after its source, so that a new source is
    compiled anew.
    """
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    path = cache_folder() / f"mask-{digest}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        command = [
            _compiler() or "cc",
            "-O2",
            "-shared",
            "-fPIC",
            "-o",
            str(unfinished),
            str(SOURCE),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=60)  # noqa: S603 - our own command
        unfinished.replace(path)
    return path


def cache_folder() -> Path:
    """Where what is made once for this user is kept: ``$XDG_CACHE_HOME/onnxlift`` or
    ``~/.cache/onnxlift``.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "onnxlift"


def _compiler() -> str | None:
    return next((found for name in _COMPILERS if (found := shutil.which(name))), None)
