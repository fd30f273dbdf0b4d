"""The instruction sets that models are served on, and the road from this machine to each."""

import platform
import shutil
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from onnxlift.compress.cpu import mask, sysroot

Road: TypeAlias = Literal["native", "masked", "emulated"]


class InstructionSet(Enum):
    """What decides which int8 kernels onnxruntime takes."""

    AVX2 = "x86_64-avx2"
    VNNI = "x86_64-avx512-vnni"
    NEOVERSE_N1 = "arm64-neoverse-n1"


@dataclass(frozen=True)
class Availability:
    """Whether models can be run on an instruction set here: the road there, or the reason why there
    is none.
    """

    instructions: InstructionSet
    road: Road | None
    reason: str

    def __bool__(self) -> bool:
        return self.road is not None


def native() -> InstructionSet | None:
    """The one of ours that this CPU is; None on any other, such as an Arm CPU with more than
    Neoverse N1 has.
    """
    flags = mask.cpu_flags()
    if platform.machine() == "x86_64" and "avx2" in flags:
        if "avx512_vnni" in flags:
            return InstructionSet.VNNI
        return None if "avx_vnni" in flags else InstructionSet.AVX2
    if platform.machine() in ("aarch64", "arm64") and "asimddp" in flags and "i8mm" not in flags:
        return InstructionSet.NEOVERSE_N1
    return None


def available(instructions: InstructionSet) -> Availability:
    """Find the fastest road to ``instructions``; nothing is run or made."""
    if native() is instructions:
        return Availability(instructions, "native", "this CPU has exactly these instructions")
    match instructions:
        case InstructionSet.AVX2:
            return _avx2()
        case InstructionSet.NEOVERSE_N1:
            return _neoverse()
        case InstructionSet.VNNI:
            reason = "this CPU has no avx512_vnni, and qemu emulates no AVX-512"
            return Availability(instructions, None, f"not available because {reason}")


def _avx2() -> Availability:
    masking = mask.obstacle()
    if masking is None:
        return Availability(InstructionSet.AVX2, "masked", "this CPU hides AVX-512, VNNI and AMX")
    if (
        platform.system() == "Linux"
        and platform.machine() == "x86_64"
        and shutil.which("qemu-x86_64")
    ):
        return Availability(
            InstructionSet.AVX2, "emulated", f"qemu-x86_64 -cpu Haswell, as {masking}"
        )
    reason = (
        f"not available because {masking}, and there is no qemu-x86_64 on the path (package "
        f"qemu-user)"
    )
    return Availability(InstructionSet.AVX2, None, reason)


def _neoverse() -> Availability:
    instructions = InstructionSet.NEOVERSE_N1
    if platform.system() != "Linux" or shutil.which("qemu-aarch64") is None:
        return Availability(
            instructions,
            None,
            "not available because there is no qemu-aarch64 on the path (package qemu-user)",
        )
    if not sysroot.is_made():
        reason = (
            f"not available because {sysroot.folder()} is missing; `python -m {__package__}` "
            f"makes it"
        )
        return Availability(instructions, None, reason)
    return Availability(instructions, "emulated", "qemu-aarch64 -cpu neoverse-n1")
