"""The library that hides features of the CPU from a process: compiled once by the system's
compiler, then kept.
"""

import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Final

from onnxlift.compress.cpu.features import Hidden

SOURCE: Final = Path(__file__).with_name("mask.c")
_COMPILERS: Final = ("cc", "gcc", "clang")
_ONLY_OURS: Final = 0o700  # what lies there is executed


def obstacle() -> str | None:
    """Why this machine cannot let CPUID fault, or None when it can."""
    reason = library_obstacle()
    if reason is None and "cpuid_fault" not in cpu_flags():
        return "this CPU (or its hypervisor) does not offer cpuid_fault"
    return reason


def library_obstacle() -> str | None:
    """Why the library cannot be made or loaded here, or None when it can."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return "hiding instructions needs Linux on an x86-64 CPU"
    if _compiler() is None:
        return "there is no C compiler (cc, gcc or clang) on the path (package gcc)"
    return None


def environment(hidden: Hidden, *, faulting: bool) -> dict[str, str]:
    """The variables with which ``child.py`` hides ``hidden``: with ``faulting`` from all code, else
    only from what is patched.

    Raises ``OSError`` or ``CalledProcessError`` if the library cannot be made.
    """
    leaves = [
        ":".join(f"{number:x}" for number in (*key, *bits)) for key, bits in sorted(hidden.items())
    ]
    variables = {"ONNXLIFT_MASK": str(library()), "ONNXLIFT_HIDDEN_CPUID": ";".join(leaves)}
    return {**variables, "ONNXLIFT_CPUID_FAULTING": "1"} if faulting else variables


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
    path = private_folder() / f"mask-{digest}.so"
    if not path.exists():
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


def private_folder() -> Path:
    """The part of the cache folder for libraries that are made here; no other user may enter it.

    Raises ``OSError`` if it cannot be made, or belongs to another user.
    """
    folder = cache_folder() / "cpu"
    folder.mkdir(_ONLY_OURS, parents=True, exist_ok=True)
    folder.chmod(_ONLY_OURS)
    return folder


def cache_folder() -> Path:
    """Where what is made once for this user is kept: ``$XDG_CACHE_HOME/onnxlift`` or
    ``~/.cache/onnxlift``.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "onnxlift"


def _compiler() -> str | None:
    return next((found for name in _COMPILERS if (found := shutil.which(name))), None)
