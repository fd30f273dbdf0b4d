"""Numbers as people read them, the same on every page and in every table."""

from typing import Final

_SIZES: Final = ((10**9, "GB"), (10**6, "MB"), (10**3, "KB"))
NOTHING: Final = "–"


def size(size_bytes: float) -> str:
    """Bytes in decimal units, as disks and downloads count: ``23.2 MB``, ``512 B``."""
    for unit_bytes, unit in _SIZES:
        if size_bytes >= unit_bytes * 0.9995:
            return f"{three_digits(size_bytes / unit_bytes)} {unit}"
    return f"{size_bytes:.0f} B"


def milliseconds(value_ms: float) -> str:
    """A duration with three digits: ``0.017 ms``, ``24.4 ms``, ``1.3 s``."""
    return (
        f"{three_digits(value_ms / 1000)} s" if value_ms >= 1000 else f"{three_digits(value_ms)} ms"
    )


def three_digits(value: float) -> str:
    """A number with three significant digits and no exponent where that is short."""
    if 999.5 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".") if 1e-4 <= abs(value) < 999.5 else f"{value:.3g}"


def ratio(part: float, whole: float) -> str:
    """How many times ``whole``: ``× 0.26``; a dash where there is nothing to compare with."""
    return f"× {part / whole:.2f}" if whole else NOTHING
