"""The processor in words."""

import platform

from onnxlift.compress.cpu.description import describe, describe_cpu

XEON = (
    "processor : 0\nmodel name : Intel(R) Xeon(R)\nflags : fpu sse avx2 avx512f avx512_vnni "
    "hle\n\nprocessor : 1\n"
)
GRAVITON = "processor : 0\nFeatures : fp asimd crc32 asimddp\nCPU part : 0xd0c\n"


def test_an_intel_processor_is_named_with_what_int8_depends_on() -> None:
    assert describe(XEON, "x86_64", "") == "Intel(R) Xeon(R) (x86_64: avx2 avx512f avx512_vnni)"


def test_a_graviton_is_named_by_its_core() -> None:
    assert describe(GRAVITON, "aarch64", "") == "Neoverse-N1 (aarch64: asimd asimddp)"


def test_a_system_without_cpuinfo_says_what_it_knows() -> None:
    assert describe("", "arm64", "arm") == "arm (arm64)"
    assert describe("", "arm64", "") == "unknown processor (arm64)"


def test_this_machine_is_described() -> None:
    assert platform.machine() in describe_cpu()
