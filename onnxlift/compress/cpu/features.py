"""Features that CPUID reports, and which of them a simulated CPU must not show."""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

# Bits to hide in EAX, EBX, ECX and EDX, by leaf and sub-leaf.
Hidden: TypeAlias = Mapping[tuple[int, int], tuple[int, int, int, int]]

_EAX, _EBX, _ECX, _EDX = range(4)
# Leaf, sub-leaf, register and bit: Intel's Software Developer's Manual, volume 2A, CPUID.
_BITS: Final = {
    "avx512f": (7, 0, _EBX, 16),
    "avx512dq": (7, 0, _EBX, 17),
    "avx512_ifma": (7, 0, _EBX, 21),
    "avx512pf": (7, 0, _EBX, 26),
    "avx512er": (7, 0, _EBX, 27),
    "avx512cd": (7, 0, _EBX, 28),
    "avx512bw": (7, 0, _EBX, 30),
    "avx512vl": (7, 0, _EBX, 31),
    "avx512_vbmi": (7, 0, _ECX, 1),
    "avx512_vbmi2": (7, 0, _ECX, 6),
    "avx512_vnni": (7, 0, _ECX, 11),
    "avx512_bitalg": (7, 0, _ECX, 12),
    "avx512_vpopcntdq": (7, 0, _ECX, 14),
    "avx512_4vnniw": (7, 0, _EDX, 2),
    "avx512_4fmaps": (7, 0, _EDX, 3),
    "avx512_vp2intersect": (7, 0, _EDX, 8),
    "amx_bf16": (7, 0, _EDX, 22),
    "avx512_fp16": (7, 0, _EDX, 23),
    "amx_tile": (7, 0, _EDX, 24),
    "amx_int8": (7, 0, _EDX, 25),
    "avx_vnni": (7, 1, _EAX, 4),
    "avx512_bf16": (7, 1, _EAX, 5),
    "amx_fp16": (7, 1, _EAX, 21),
    "avx_ifma": (7, 1, _EAX, 23),
    "avx_vnni_int8": (7, 1, _EDX, 4),
    "avx_ne_convert": (7, 1, _EDX, 5),
    "amx_complex": (7, 1, _EDX, 8),
    "avx_vnni_int16": (7, 1, _EDX, 10),
    "avx10": (7, 1, _EDX, 19),
}
_SKYLAKE: Final = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})


def _hidden(names: Iterable[str]) -> Hidden:
    """The bits of the features ``names``."""
    leaves: dict[tuple[int, int], list[int]] = {}
    for leaf, part, register, bit in (_BITS[name] for name in names):
        leaves.setdefault((leaf, part), [0, 0, 0, 0])[register] |= 1 << bit
    return {key: (bits[0], bits[1], bits[2], bits[3]) for key, bits in leaves.items()}


BEYOND_AVX2: Final = _hidden(_BITS)
BEYOND_AVX512: Final = _hidden(_BITS.keys() - _SKYLAKE)
BEYOND_AVX_VNNI: Final = _hidden(_BITS.keys() - {"avx_vnni"})
