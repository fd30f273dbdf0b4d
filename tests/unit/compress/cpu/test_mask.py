"""Masking this CPU: compiled once, and onnxruntime's process then sees no VNNI."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from onnxlift.compress.cpu import mask

CPUID = """
#include <cpuid.h>
#include <stdio.h>
int main(void) {
    unsigned a, b, c, d;
    __get_cpuid_count(7, 0, &a, &b, &c, &d);
    printf("%u %u %u", b >> 5 & 1, b >> 16 & 1, c >> 11 & 1);
    return 0;
}
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _possible() -> None:
    if (reason := mask.obstacle()) is not None:
        pytest.skip(reason)


def test_a_masked_process_sees_avx2_and_neither_avx512_nor_vnni(tmp_path: Path) -> None:
    _possible()
    source, program = tmp_path / "cpuid.c", tmp_path / "cpuid"
    source.write_text(CPUID)
    subprocess.run([shutil.which("cc") or "gcc", "-o", program, source], check=True)

    seen = subprocess.run(
        [program],
        env={**os.environ, "LD_PRELOAD": str(mask.library())},
        capture_output=True,
        text=True,
        check=True,
    )

    assert seen.stdout == "1 0 0"


def test_a_crash_in_a_masked_process_still_ends_it() -> None:
    _possible()

    done = subprocess.run(
        [sys.executable, "-c", "import ctypes; ctypes.string_at(0)"],
        env={**os.environ, "LD_PRELOAD": str(mask.library())},
        capture_output=True,
        check=False,
        timeout=180,
    )

    assert done.returncode == -11


def test_the_library_is_compiled_once() -> None:
    _possible()
    first = mask.library()
    made = first.stat().st_mtime_ns

    again = mask.library()

    assert (again, again.stat().st_mtime_ns) == (first, made)
    assert list(first.parent.iterdir()) == [first]


def test_a_machine_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _possible()
    monkeypatch.setattr(shutil, "which", lambda _name: None)

    assert mask.obstacle() == "there is no C compiler (cc, gcc or clang) on the path"


def test_a_cpu_without_faulting_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(mask, "cpu_flags", lambda: frozenset({"avx2"}))

    assert mask.obstacle() == "this CPU (or its hypervisor) does not offer cpuid_fault"


def test_another_system_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")

    assert mask.obstacle() == "masking needs Linux on an x86-64 CPU"
