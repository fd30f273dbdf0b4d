"""The results as a Markdown table; a figure that misses its goal is bold."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.models.comparison import MAX_SLOWDOWN

_HEAD: Final = (
    "model", "MB", "recipe", "× size", "quality", "× p50", "seconds", "peak MB",
    "quantize_dynamic", "quantize_static",
)  # fmt: skip
_OTHERS: Final = ("quantize_dynamic", "quantize_static")


def render(results: Mapping[str, Any]) -> str:
    """A line about the machine, and the table."""
    about = (
        f"{results['date']}, {results['cpu']}, {results['cores']} cores, load {results['load']}; "
        f"onnxruntime {results['onnxruntime']}."
    )
    rows = [_row(item) for item in results["models"].values()]
    return "\n".join([about, "", _line(_HEAD), _line(["---"] * len(_HEAD)), *map(_line, rows)])


def _row(item: Mapping[str, Any]) -> list[str]:
    for key in ("refused", "failed"):
        if key in item:
            return [item["model"], "", f"**{key}: {item[key]}**", *[""] * (len(_HEAD) - 3)]
    ours = item["results"]["onnxlift"]
    if isinstance(ours, str):
        return [item["model"], *[""] * (len(_HEAD) - 2), f"**{ours}**"]
    ratio = ours["bytes"] / item["bytes"]
    return [
        item["model"],
        f"{item['bytes'] / 1e6:.2f} → {ours['bytes'] / 1e6:.2f}",
        item["recipe"],
        _marked(f"{ratio:.3f}", missed=ratio > item["goal"]),
        _quality(item, ours),
        _marked(f"{ours['p50_ratio']:.2f}", missed=ours["p50_ratio"] > MAX_SLOWDOWN),
        f"{item['seconds']} of {item['budget_s']:.0f}",
        str(item["peak_mb"]),
        *(_other(item, item["results"][name]) for name in _OTHERS),
    ]


def _quality(item: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    score = found["score"]
    loss = score if item["quality"].endswith("error") else 1 - score
    return f"{item['quality']} {_marked(f'{score:.4f}', missed=loss > item['allowed'])}"


def _other(item: Mapping[str, Any], found: Any) -> str:
    if isinstance(found, str):
        return found.replace("|", "/")[:70]
    return (
        f"× {found['bytes'] / item['bytes']:.3f}, {found['score']:.4f}, × {found['p50_ratio']:.2f}"
    )


def _marked(text: str, *, missed: bool) -> str:
    return f"**{text}**" if missed else text


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
