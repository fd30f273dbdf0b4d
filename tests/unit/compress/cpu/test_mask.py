"""Hiding features from a process: which bits, by which instruction, and what still ends it."""

import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from onnxlift.compress.cpu import mask
from onnxlift.compress.cpu.features import BEYOND_AVX2, BEYOND_AVX512, BEYOND_AVX_VNNI, Hidden

CPUID = r"""
#include <stdio.h>
int main(void) {
    unsigned a = 7, b = 0, c = 0, d = 0;
    __asm__ volatile(INSTRUCTION : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
    printf("%u %u %u", b >> 5 & 1, b >> 16 & 1, c >> 11 & 1);
    return 0;
}
"""
NATIVE, PATCHED, UNREACHABLE = "cpuid", ".byte 0x0f, 0xff", "ud2"
AVX2: Hidden = {(7, 0): (0, 1 << 5, 0, 0)}
# All bits that a CPU could set, asked for in the order of CPUID's registers.
HIDE = """
import ctypes, os
library = ctypes.CDLL(os.environ["ONNXLIFT_MASK"])
for leaf, part in [(7, 0), (7, 1), (1, 5), (2, 0)]:
    registers = (ctypes.c_uint32 * 4)(*[0xFFFFFFFF] * 4)
    library.onnxlift_hide(leaf, part, registers)
    print(*[f"{0xFFFFFFFF - value:x}" for value in registers])
print(ctypes.c_ulong.in_dll(library, "onnxlift_hidden_answers").value)
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _require(reason: str | None) -> None:
    if reason is not None:
        pytest.skip(reason)


def _run(
    command: Sequence[str | Path], hidden: Hidden, *, faulting: bool = False
) -> subprocess.CompletedProcess[str]:
    variables = mask.environment(hidden, faulting=faulting)
    return subprocess.run(
        command,
        env={**os.environ, **variables, "LD_PRELOAD": variables["ONNXLIFT_MASK"]},
        capture_output=True,
        check=False,
        text=True,
        timeout=180,
    )


def _compiled(instruction: str, folder: Path) -> Path:
    source, program = folder / "cpuid.c", folder / "cpuid"
    source.write_text(CPUID)
    define = f'-DINSTRUCTION="{instruction}"'
    subprocess.run([shutil.which("cc") or "gcc", define, "-o", program, source], check=True)
    return program


def test_a_faulting_process_sees_avx2_and_neither_avx512_nor_vnni(tmp_path: Path) -> None:
    _require(mask.obstacle())

    seen = _run([_compiled(NATIVE, tmp_path)], BEYOND_AVX2, faulting=True)

    assert seen.stdout == "1 0 0"


def test_a_patched_cpuid_is_answered_without_what_is_hidden(tmp_path: Path) -> None:
    _require(mask.library_obstacle())
    program = _compiled(PATCHED, tmp_path)
    has_avx2 = "avx2" in mask.cpu_flags()

    assert _run([program], BEYOND_AVX2).stdout == f"{has_avx2:d} 0 0"
    assert _run([program], AVX2).stdout.startswith("0")


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        (BEYOND_AVX2, ["0 dc230000 5842 3c0010c", "a00030 0 0 80530", "0 0 0 0", "0 0 0 0", "2"]),
        # AVX-512 F, DQ, CD, BW and VL stay.
        (BEYOND_AVX512, ["0 c200000 5842 3c0010c", "a00030 0 0 80530", "0 0 0 0", "0 0 0 0", "2"]),
        # AVX-VNNI stays.
        (
            BEYOND_AVX_VNNI,
            ["0 dc230000 5842 3c0010c", "a00020 0 0 80530", "0 0 0 0", "0 0 0 0", "2"],
        ),
        # A leaf without parts answers whatever ECX holds.
        (
            {(1, 0xFFFFFFFF): (0, 0, 1 << 28, 0)},
            ["0 0 0 0", "0 0 0 0", "0 0 10000000 0", "0 0 0 0", "1"],
        ),
    ],
    ids=["avx2", "avx512", "avx_vnni", "any part"],
)
def test_only_the_bits_of_newer_features_are_hidden(hidden: Hidden, expected: list[str]) -> None:
    _require(mask.library_obstacle())

    assert _run([sys.executable, "-c", HIDE], hidden).stdout.splitlines() == expected


@pytest.mark.parametrize("faulting", [False, True])
def test_code_that_must_not_be_reached_still_ends_the_process(
    faulting: bool, tmp_path: Path
) -> None:
    _require(mask.obstacle() if faulting else mask.library_obstacle())

    done = _run([_compiled(UNREACHABLE, tmp_path)], BEYOND_AVX2, faulting=faulting)

    assert done.returncode == -signal.SIGILL


def test_a_crash_in_a_faulting_process_still_ends_it() -> None:
    _require(mask.obstacle())

    crash = [sys.executable, "-c", "import ctypes; ctypes.string_at(0)"]

    assert _run(crash, BEYOND_AVX2, faulting=True).returncode == -signal.SIGSEGV


def test_the_library_is_compiled_once_for_this_user_alone() -> None:
    _require(mask.library_obstacle())
    first = mask.library()
    made = first.stat().st_mtime_ns

    again = mask.library()

    assert (again, again.stat().st_mtime_ns) == (first, made)
    assert list(first.parent.iterdir()) == [first]
    assert stat.S_IMODE(first.parent.stat().st_mode) == 0o700


def test_a_folder_that_others_could_enter_is_closed() -> None:
    folder = mask.private_folder()
    folder.chmod(0o777)

    assert stat.S_IMODE(mask.private_folder().stat().st_mode) == 0o700


def test_a_machine_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(shutil, "which", lambda _name: None)

    expected = "there is no C compiler (cc, gcc or clang) on the path (package gcc)"
    assert mask.obstacle() == mask.library_obstacle() == expected


def test_a_cpu_without_faulting_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(mask, "cpu_flags", lambda: frozenset({"avx2"}))

    assert mask.obstacle() == "this CPU (or its hypervisor) does not offer cpuid_fault"


def test_another_system_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")

    assert mask.obstacle() == "hiding instructions needs Linux on an x86-64 CPU"
