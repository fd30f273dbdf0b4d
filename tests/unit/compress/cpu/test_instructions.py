"""Which road leads to an instruction set, from any machine."""

import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from onnxlift.compress.cpu import mask, patch, saturation, sysroot
from onnxlift.compress.cpu.instructions import InstructionSet, available, native


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "type[_Machine]":
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _Machine.patch = monkeypatch
    return _Machine


class _Machine:
    """Another machine than this one. ``broken`` are the roads on which the probe fails."""

    patch: pytest.MonkeyPatch

    @classmethod
    def be(
        cls,
        architecture: str,
        flags: str,
        tools: str = "",
        system: str = "Linux",
        broken: str = "",
    ) -> None:
        cls.patch.setattr(platform, "machine", lambda: architecture)
        cls.patch.setattr(platform, "system", lambda: system)
        cls.patch.setattr(mask, "cpu_flags", lambda: frozenset(flags.split()))
        cls.patch.setattr(
            shutil, "which", lambda name: f"/bin/{name}" if name in tools.split() else None
        )
        cls.patch.setattr(patch, "environment", lambda _hidden: {"road": "patched"})
        cls.patch.setattr(mask, "environment", lambda _hidden, faulting: {"road": "masked"})

        def obstacle(variables: Mapping[str, str], *, saturates: bool) -> str | None:
            return "the probe failed" if variables["road"] in broken.split() else None

        cls.patch.setattr(saturation, "obstacle", obstacle)


@pytest.mark.parametrize(
    ("architecture", "flags", "expected"),
    [
        ("x86_64", "avx2", InstructionSet.AVX2),
        ("x86_64", "avx2 avx512f avx512_vnni", InstructionSet.VNNI),
        ("x86_64", "avx2 avx512f avx512vl", InstructionSet.AVX512),
        ("x86_64", "avx2 avx_vnni", InstructionSet.AVX_VNNI),
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
    ("flags", "tools", "broken", "road"),
    [
        ("avx2", "", "", "native"),
        ("avx2 avx512_vnni", "cc objdump", "", "patched"),
        ("avx2 avx512_vnni", "clang llvm-objdump qemu-x86_64", "", "patched"),
        ("avx2 avx512_vnni cpuid_fault", "cc objdump qemu-x86_64", "", "patched"),
        ("avx2 avx512_vnni cpuid_fault", "cc qemu-x86_64", "", "masked"),
        ("avx2 avx512_vnni cpuid_fault", "cc objdump qemu-x86_64", "patched", "masked"),
        ("avx2 avx512_vnni cpuid_fault", "cc objdump qemu-x86_64", "patched masked", "emulated"),
        ("avx2 avx512_vnni", "cc qemu-x86_64", "", "emulated"),
        ("avx2 avx512_vnni cpuid_fault", "objdump qemu-x86_64", "", "emulated"),
        ("avx2 avx512_vnni cpuid_fault", "objdump", "", None),
        ("avx2 avx512_vnni", "cc objdump", "patched", None),
    ],
)
def test_the_first_road_to_avx2_that_works_is_taken(
    machine: type[_Machine], flags: str, tools: str, broken: str, road: str | None
) -> None:
    machine.be("x86_64", flags, tools, broken=broken)

    found = available(InstructionSet.AVX2)

    assert found.road == road
    assert bool(found) is (road is not None)


def test_no_road_names_every_tool_that_is_missing(machine: type[_Machine]) -> None:
    machine.be("x86_64", "avx2 avx512_vnni")

    reasons = [available(item).reason for item in (InstructionSet.AVX2, InstructionSet.NEOVERSE_N1)]

    assert reasons == [
        "not available because there is no C compiler (cc, gcc or clang) on the path (package "
        "gcc); and there is no qemu-x86_64 on the path (package qemu-user)",
        "not available because there is no qemu-aarch64 on the path (package qemu-user)",
    ]


def test_a_road_that_fails_its_probe_gives_the_reason(machine: type[_Machine]) -> None:
    machine.be("x86_64", "avx2 avx512_vnni", "cc objdump qemu-x86_64", broken="patched")

    assert available(InstructionSet.AVX2).reason == (
        "qemu-x86_64 -cpu Haswell, as hiding instructions fails here (patched: the probe failed); "
        "this CPU (or its hypervisor) does not offer cpuid_fault"
    )


def test_a_copy_that_cannot_be_made_is_a_reason(
    machine: type[_Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    def environment(_hidden: object) -> dict[str, str]:
        raise OSError(28, "No space left on device", "/cache/onnxruntime.so")

    machine.be("x86_64", "avx2 avx512_vnni", "cc objdump")
    monkeypatch.setattr(patch, "environment", environment)

    found = available(InstructionSet.AVX2)

    assert not found
    assert "No space left on device: '/cache/onnxruntime.so'" in found.reason


@pytest.mark.parametrize(
    ("flags", "instructions", "road"),
    [
        ("avx2 avx512vl avx512_vnni", InstructionSet.AVX512, "patched"),
        ("avx2 avx512vl avx512_vnni", InstructionSet.AVX_VNNI, None),
        ("avx2 avx512vl avx512_vnni avx_vnni", InstructionSet.AVX_VNNI, "patched"),
        ("avx2 avx_vnni", InstructionSet.AVX512, None),
        ("avx2 avx_vnni", InstructionSet.AVX2, "patched"),
        ("avx2 avx512vl", InstructionSet.AVX2, "patched"),
    ],
)
def test_a_cpu_becomes_only_what_it_contains(
    machine: type[_Machine], flags: str, instructions: InstructionSet, road: str | None
) -> None:
    machine.be("x86_64", flags, "cc objdump qemu-x86_64")

    assert available(instructions).road == road


def test_a_missing_feature_is_the_only_reason(machine: type[_Machine]) -> None:
    machine.be("x86_64", "avx2", "cc objdump qemu-x86_64")

    assert available(InstructionSet.AVX512).reason == (
        "not available because this CPU has no avx512vl"
    )


@pytest.mark.parametrize(("architecture", "system"), [("aarch64", "Linux"), ("x86_64", "Darwin")])
def test_other_machines_reach_no_x86(
    machine: type[_Machine], architecture: str, system: str
) -> None:
    machine.be(architecture, "avx2 avx_vnni", "cc objdump qemu-x86_64", system)

    found = available(InstructionSet.AVX2)

    assert not found
    assert "hiding instructions needs Linux on an x86-64 CPU" in found.reason


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
