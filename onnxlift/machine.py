"""This machine, as the configuration names it."""

import platform
from typing import Final

_ARCHITECTURES: Final = {"amd64": "x86_64", "aarch64": "arm64"}


def architecture() -> str:
    """The architecture, ``x86_64`` or ``arm64``; others by their own name."""
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)
