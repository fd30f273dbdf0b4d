"""Which road leads to an instruction set, from any machine."""

import platform
import shutil
from pathlib import Path

import pytest

from onnxlift.compress.cpu import mask, sysroot
from onnxlift.compress.cpu.instructions import InstructionSet, available, native


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "type[_Machine]":
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _Machine.patch = monkeypatch
    return _Machine


class _Machine:
    """Another machine than this one."""

    patch: pytest.MonkeyPatch

    @classmethod
    def be(cls, architecture: str, flags: str, tools: str = "", system: str = "Linux") -> None:
        cls.patch.setattr(platform, "machine", lambda: architecture)
        cls.patch.setattr(platform, "system", lambda: system)
        cls.patch.setattr(mask, "cpu_flags", lambda: frozenset(flags.split()))
        cls.patch.setattr(
            shutil, "which", lambda name: f"/bin/{name}" if name in tools.split() else None
        )


@pytest.mark.parametrize(
    ("architecture", "flags", "expected"),
    [
        ("x86_64", "avx2", InstructionSet.AVX2),
        ("x86_64", "avx2 avx512f avx512_vnni", InstructionSet.VNNI),
        ("x86_64", "avx2 avx_vnni", None),
        ("x86_64", "sse2", None),
        ("aarch64", "asimd asimddp", InstructionSet.NEOVERSE_N1),
        ("aarch64", "asimd asimddp i8mm", None),
    ],
)
def test_this_cpu_is_named_by_what_it_has(
    machine: type[_Machine], architecture: str, flags: str, expected: InstructionSet | None
) -> None:
    machine.be(architecture, flags)

    assert native() is expected


@pytest.mark.parametrize(
    ("flags", "tools", "road"),
    [
        ("avx2", "", "native"),
        ("avx2 avx512_vnni cpuid_fault", "cc qemu-x86_64", "masked"),
        ("avx2 avx512_vnni", "cc qemu-x86_64", "emulated"),
        ("avx2 avx512_vnni cpuid_fault", "qemu-x86_64", "emulated"),
        ("avx2 avx512_vnni cpuid_fault", "", None),
    ],
)
def test_the_fastest_road_to_avx2_is_taken(
    machine: type[_Machine], flags: str, tools: str, road: str | None
) -> None:
    machine.be("x86_64", flags, tools)

    found = available(InstructionSet.AVX2)

    assert found.road == road
    assert bool(found) is (road is not None)


def test_no_road_names_every_tool_that_is_missing(machine: type[_Machine]) -> None:
    machine.be("x86_64", "avx2 avx512_vnni")

    reasons = [available(item).reason for item in (InstructionSet.AVX2, InstructionSet.NEOVERSE_N1)]

    assert reasons == [
        "not available because this CPU (or its hypervisor) does not offer cpuid_fault, and there "
        "is no qemu-x86_64 on "
        "the path (package qemu-user)",
        "not available because there is no qemu-aarch64 on the path (package qemu-user)",
    ]


def test_vnni_cannot_be_reached_from_a_cpu_without_it(machine: type[_Machine]) -> None:
    machine.be("x86_64", "avx2", "qemu-x86_64")

    assert "no avx512_vnni" in available(InstructionSet.VNNI).reason


def test_arm64_needs_its_folder_and_says_how_to_make_it(
    machine: type[_Machine], tmp_path: Path
) -> None:
    machine.be("x86_64", "avx2", "qemu-aarch64")
    missing = available(InstructionSet.NEOVERSE_N1)

    (sysroot.folder() / "site/onnxruntime").mkdir(parents=True)

    assert missing.reason.endswith("is missing; `python -m onnxlift.compress.cpu` makes it")
    assert available(InstructionSet.NEOVERSE_N1).road == "emulated"
