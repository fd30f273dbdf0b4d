"""A private copy of onnxruntime's extension in which every CPUID is an illegal instruction, which
``mask.c`` answers. This hides features on any x86-64 CPU, at native speed.
"""

import hashlib
import os
import re
import shutil
import struct
import subprocess
from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final

import numpy as np

from onnxlift.compress.cpu import mask
from onnxlift.compress.cpu.features import Hidden

# onnxruntime opens it beside the extension, and warns where it is missing.
_NEIGHBOUR: Final = "libonnxruntime_providers_shared.so"
_DISASSEMBLERS: Final = ("objdump", "llvm-objdump")
_CPUID, _UD0 = b"\x0f\xa2", b"\x0f\xff"
# A disassembler that is stopped inside an instruction takes the rest of it for others; x86-64's
# longest has 15 bytes.
_MARGIN: Final = 32
_LOADED, _UNWINDING, _EXECUTABLE = 1, 0x6474E550, 1  # PT_LOAD, PT_GNU_EH_FRAME, PF_X
# .eh_frame_hdr: version 1, a sorted table of 32-bit offsets from its own start.
_TABLE: Final = b"\x01\x1b\x03\x3b"


@dataclass(frozen=True)
class _Segment:
    kind: int
    flags: int
    offset: int
    address: int
    size: int


def obstacle() -> str | None:
    """Why this machine cannot make the copy, or None when it can."""
    reason = mask.library_obstacle()
    if reason is None and _disassembler() is None:
        return "there is no objdump (or llvm-objdump) on the path (package binutils)"
    return reason


def environment(hidden: Hidden) -> dict[str, str]:
    """The variables with which ``child.py`` runs the copy, and hides ``hidden`` from it.

    The first call makes the copy, in some seconds. Raises ``OSError``, ``SubprocessError`` or
    ``ValueError`` if that fails.
    """
    copy = patched(extension(), mask.private_folder())
    return {**mask.environment(hidden, faulting=False), "ONNXLIFT_EXTENSION": str(copy)}


def extension() -> Path:
    """The file that ``import onnxruntime`` loads: all of onnxruntime, in PyPI's wheels."""
    return Path(str(import_module("onnxruntime.capi.onnxruntime_pybind11_state").__file__))


@cache
def patched(library: Path, folder: Path) -> Path:
    """The patched copy of ``library`` below ``folder``, made where it is missing or damaged.

    Its folder is named after the digest of the library and of this module.
    """
    original = library.read_bytes()
    digest = hashlib.sha256(original + Path(__file__).read_bytes()).hexdigest()[:32]
    place = folder / f"onnxruntime-{digest}"
    place.mkdir(exist_ok=True)
    for neighbour in library.parent.glob(_NEIGHBOUR):
        _write(place / neighbour.name, neighbour.read_bytes())
    path = place / library.name
    if not (path.exists() and _is_patched(path.read_bytes(), original)):
        content = bytearray(original)
        for site in cpuid_sites(library):
            content[site : site + len(_UD0)] = _UD0
        _write(path, content)
    return path


def _write(path: Path, content: bytes | bytearray) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _is_patched(content: bytes, original: bytes) -> bool:
    """Whether ``content`` is ``original`` except for some CPUIDs that are UD0."""
    if len(content) != len(original):
        return False
    before, after = np.frombuffer(original, np.uint8), np.frombuffer(content, np.uint8)
    changed = np.flatnonzero(before != after)
    pairs = np.stack([before[changed - 1], before[changed], after[changed - 1], after[changed]], 1)
    return bool(len(changed) and np.all(pairs == [*_CPUID, *_UD0]))


def cpuid_sites(library: Path) -> list[int]:
    """Where the ELF file ``library`` holds CPUID instructions.

    The bytes of a CPUID also occur inside other instructions and in data. One counts if a
    disassembly from the start of its function, as the unwinding table lists it, arrives there.
    Raises ``ValueError`` for a file without that table or without any CPUID.
    """
    content = library.read_bytes()
    segments = _segments(content)
    starts = _function_starts(content, segments)
    found = [
        (offset, address, starts[index - 1])
        for offset, address in _candidates(content, segments)
        if (index := bisect_right(starts, address))
    ]
    with ThreadPoolExecutor() as pool:
        verdicts = pool.map(lambda item: _is_cpuid(library, item[1], item[2]), found)
        sites = [item[0] for item, verdict in zip(found, verdicts, strict=True) if verdict]
    if not sites:
        raise ValueError(f"{library.name} holds no CPUID instruction")
    return sites


def _segments(content: bytes) -> list[_Segment]:
    if content[:6] != b"\x7fELF\x02\x01":
        raise ValueError("onnxruntime's extension module is not a 64-bit little-endian ELF file")
    start = struct.unpack_from("<Q", content, 32)[0]
    size, count = struct.unpack_from("<HH", content, 54)
    headers = [struct.unpack_from("<IIQQQQ", content, start + size * i) for i in range(count)]
    return [
        _Segment(kind, flags, offset, address, length)
        for kind, flags, offset, address, _, length in headers
    ]


def _function_starts(content: bytes, segments: list[_Segment]) -> list[int]:
    """The functions' addresses, ascending, from the search table of .eh_frame_hdr."""
    table = next((segment for segment in segments if segment.kind == _UNWINDING), None)
    if table is None or content[table.offset : table.offset + 4] != _TABLE:
        raise ValueError("onnxruntime's extension module has no table of functions (.eh_frame_hdr)")
    count = struct.unpack_from("<I", content, table.offset + 8)[0]
    offsets = struct.unpack_from(f"<{2 * count}i", content, table.offset + 12)[::2]
    return [table.address + offset for offset in offsets]


def _candidates(content: bytes, segments: list[_Segment]) -> Iterator[tuple[int, int]]:
    """Offset and address of each pair of bytes in executable segments that could be a CPUID."""
    for segment in segments:
        if segment.kind == _LOADED and segment.flags & _EXECUTABLE:
            code = content[segment.offset : segment.offset + segment.size]
            for match in re.finditer(re.escape(_CPUID), code):
                yield segment.offset + match.start(), segment.address + match.start()


def _is_cpuid(library: Path, address: int, function: int) -> bool:
    command = [
        _disassembler() or "objdump",
        "--disassemble",
        "--no-show-raw-insn",
        f"--start-address={function:#x}",
        f"--stop-address={address + _MARGIN:#x}",
        str(library),
    ]
    listing = subprocess.run(  # noqa: S603 - our own command
        command, check=True, capture_output=True, text=True, timeout=60
    ).stdout
    return re.search(rf"^\s*{address:x}:\s+cpuid\s*$", listing, re.MULTILINE) is not None


def _disassembler() -> str | None:
    return next((found for name in _DISASSEMBLERS if (found := shutil.which(name))), None)
