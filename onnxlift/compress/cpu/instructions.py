"""The instruction sets that models are served on, and the road from this machine to each."""

import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeAlias

from onnxlift.compress.cpu import features, mask, patch, saturation, sysroot

Road: TypeAlias = Literal["native", "patched", "masked", "emulated"]


class InstructionSet(Enum):
    """What decides which int8 kernels onnxruntime takes."""

    AVX2 = "x86_64-avx2"
    AVX_VNNI = "x86_64-avx-vnni"
    AVX512 = "x86_64-avx512"
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


@dataclass(frozen=True)
class _Simulation:
    """How a newer CPU becomes an older one: the flag it must have, what is hidden, and whether
    8-bit products then saturate.
    """

    flag: str
    hidden: features.Hidden
    saturates: bool


_SIMULATIONS: Final = {
    InstructionSet.AVX2: _Simulation("avx2", features.BEYOND_AVX2, saturates=True),
    InstructionSet.AVX_VNNI: _Simulation("avx_vnni", features.BEYOND_AVX_VNNI, saturates=False),
    InstructionSet.AVX512: _Simulation("avx512vl", features.BEYOND_AVX512, saturates=True),
}

_NEWEST_FIRST: Final = (
    ("avx512_vnni", InstructionSet.VNNI),
    ("avx_vnni", InstructionSet.AVX_VNNI),
    ("avx512vl", InstructionSet.AVX512),
    ("avx2", InstructionSet.AVX2),
)


def native() -> InstructionSet | None:
    """The one of ours that this CPU is; None on any other, such as an Arm CPU with more than
    Neoverse N1 has.
    """
    flags = mask.cpu_flags()
    match platform.machine():
        case "x86_64":
            return next((item for flag, item in _NEWEST_FIRST if flag in flags), None)
        case "aarch64" | "arm64":
            is_n1 = "asimddp" in flags and "i8mm" not in flags
            return InstructionSet.NEOVERSE_N1 if is_n1 else None
        case _:
            return None


def available(instructions: InstructionSet) -> Availability:
    """Find the first road to ``instructions`` that works.

    On x86-64 the first call may make a copy of onnxruntime, which takes some seconds. A road that
    hides instructions counts only after a probe has run on it, once in this process.
    """
    if native() is instructions:
        return Availability(instructions, "native", "this CPU has exactly these instructions")
    match instructions:
        case InstructionSet.NEOVERSE_N1:
            return _neoverse()
        case InstructionSet.VNNI:
            reason = "this CPU has no avx512_vnni, and qemu emulates no AVX-512"
            return Availability(instructions, None, f"not available because {reason}")
        case _:
            return _simulated(instructions)


def variables(road: Availability) -> dict[str, str]:
    """The variables of a process that takes ``road`` while this Python runs it.

    Raises ``OSError``, ``SubprocessError`` or ``ValueError`` if what they name cannot be made.
    """
    match road.road:
        case "patched":
            return patch.environment(_SIMULATIONS[road.instructions].hidden)
        case "masked":
            return mask.environment(_SIMULATIONS[road.instructions].hidden, faulting=True)
        case _:
            return {}


def _simulated(instructions: InstructionSet) -> Availability:
    roads: Mapping[Road, tuple[str, Callable[[], str | None]]] = {
        "patched": ("a copy of onnxruntime sees no more than these", patch.obstacle),
        "masked": ("this CPU hides what is beyond these", mask.obstacle),
    }
    reasons = []
    for road, (reason, obstacle) in roads.items():
        found = Availability(instructions, road, reason)
        if (missing := _missing_flag(instructions) or obstacle() or _failure(found)) is None:
            return found
        if missing not in reasons:
            reasons.append(missing)
    because = "; ".join(reasons)
    if instructions is InstructionSet.AVX2:
        return _haswell(because)
    return Availability(instructions, None, f"not available because {because}")


def _missing_flag(instructions: InstructionSet) -> str | None:
    flag = _SIMULATIONS[instructions].flag
    return None if flag in mask.cpu_flags() else f"this CPU has no {flag}"


def _failure(road: Availability) -> str | None:
    """Why ``road`` does not lead where it should; None if its probe answers right."""
    try:
        wanted = _SIMULATIONS[road.instructions].saturates
        failure = saturation.obstacle(variables(road), saturates=wanted)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        failure = str(error)
    return f"hiding instructions fails here ({road.road}: {failure})" if failure else None


def _haswell(because: str) -> Availability:
    here = (platform.system(), platform.machine())
    if here == ("Linux", "x86_64") and shutil.which("qemu-x86_64"):
        reason = f"qemu-x86_64 -cpu Haswell, as {because}"
        return Availability(InstructionSet.AVX2, "emulated", reason)
    reason = (
        f"not available because {because}; and there is no qemu-x86_64 on the path (package "
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
