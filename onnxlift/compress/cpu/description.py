"""This machine's processor in words, with the instruction sets that int8's speed and saturation
depend on.
"""

import platform
from pathlib import Path
from typing import Final

# As Linux names them in /proc/cpuinfo, from the oldest to the newest of each architecture.
INSTRUCTION_SETS: Final = (
    "avx", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_int8",
    "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
_ARM_CORES: Final = {
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
}


def describe_cpu() -> str:
    """The processor this process runs on, such as ``Intel(R) Xeon(R) (x86_64: avx avx2 avx512f
    avx512_vnni)``.
    """
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        text = ""
    return describe(text, platform.machine(), platform.processor())


def describe(cpuinfo: str, machine: str, fallback: str) -> str:
    """The same from the text of /proc/cpuinfo; ``fallback`` names the processor where that text is
    empty.
    """
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, text = line.partition(":")
        fields.setdefault(key.strip(), text.strip())
    name = (
        fields.get("model name")
        or _ARM_CORES.get(fields.get("CPU part", ""))
        or fallback
        or "unknown processor"
    )
    present = set((fields.get("flags") or fields.get("Features") or "").split())
    known = [flag for flag in INSTRUCTION_SETS if flag in present]
    return f"{name} ({' '.join([f'{machine}:', *known]) if known else machine})"
