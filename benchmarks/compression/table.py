"""The results as a Markdown table."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

_SETS: Final = {"x86_64-avx2": "AVX2", "x86_64-avx512-vnni": "VNNI", "arm64-neoverse-n1": "arm64"}
_HEAD: Final = (
    "recipe", "MB (gzip)", "1 − cos, VNNI [95 %]", "AVX2", "arm64 (60)", "AVX2 ~ VNNI", "least cos",
    "nearest", "other domain", "speed 16 / 64 / 128", "opens × own .onnx", "× fp32 .onnx",
    "made in",
)  # fmt: skip


def render(results: Mapping[str, Any]) -> str:
    """A line about the machine, and the table."""
    rows = [_row(item, results["variants"][0]) for item in results["variants"]]
    about = (
        f"{results['date']}, {results['cpu']}, {results['cores']} cores, load "
        f"{results['load_before']} at the start; "
        f"onnxruntime {results['onnxruntime']}, Python {results['python']}; sentences "
        f"`{results['sentences']}`."
    )
    return "\n".join([about, "", _line(_HEAD), _line(["---"] * len(_HEAD)), *map(_line, rows)])


def _row(item: Mapping[str, Any], fp32: Mapping[str, Any]) -> list[str]:
    found = {_SETS[key]: value for key, value in item["closeness"].items()}
    best = found.get("VNNI") or next(iter(found.values()))
    speeds = [f"{fp32['ms'][length] / ms:.2f}" for length, ms in item["ms"].items()]
    return [
        item["name"],
        f"{item['bytes'] / 1e6:.2f} ({item['gzip_bytes'] / 1e6:.1f})",
        f"{best['loss']:.5f} [{best['low']:.5f}, {best['high']:.5f}]",
        _loss(found.get("AVX2")),
        _loss(found.get("arm64")),
        "not measured" if item["agreement"] is None else f"{item['agreement']:.5f}",
        f"{min(value['least_cosine'] for value in found.values()):.4f}",
        f"{best['neighbours']:.3f}",
        f"{item['paraphrases']['loss']:.5f}",
        " / ".join(speeds),
        _opening(item),
        f"{item['open_ms'] / fp32['open_ms']:.2f}",
        f"{item['build_s']:.0f} s",
    ]


def _loss(found: Mapping[str, float] | None) -> str:
    return "not measured" if found is None else f"{found['loss']:.5f}"


def _opening(item: Mapping[str, Any]) -> str:
    if not item["ours"]:
        return "1"
    return (
        f"{item['open_ms'] / item['open_raw_ms']:.2f}, "
        f"{'same bits' if item['same_bits_as_raw'] else 'OTHER BITS'}"
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
