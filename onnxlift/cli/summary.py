"""What ``onnxlift compress`` tells: a table before and after, a row for every candidate, or JSON."""

import json
import platform
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxlift.compress.choice import Candidate
from onnxlift.compress.pipeline import Outcome
from onnxlift.placement import Placement
from onnxlift_runtime.manifest import Measurements

_ALIASES: Final = {"aarch64": "arm64", "AMD64": "x86_64"}


def as_tables(outcome: Outcome) -> RenderableType:
    """The outcome for a reader: before and after, the candidates, and where the figures come from."""
    manifest = outcome.manifest
    title = Text.assemble((f"{manifest.name} {manifest.version}", "bold"), f" → {outcome.folder}")
    measured = manifest.measurements
    origin = f"measured with {measured.threads} thread, onnxruntime {measured.onnxruntime}, {measured.cpu}"
    rows = _candidates(outcome.candidates, manifest.recipe)
    parts: list[RenderableType] = [title, "", _before_and_after(outcome), "", rows, ""]
    if outcome.kept_fp32 and len(outcome.candidates) > 1:
        parts.append(Text("The model ships as fp32: no recipe made it smaller within its quality limit.", "yellow"))
    if manifest.architecture != _ALIASES.get(platform.machine(), platform.machine()):
        parts.append(
            Text(f"The target is {manifest.architecture}: quality and figures were not verified there.", "yellow")
        )
    return Group(*parts, Text(origin, "dim"))


def as_json(outcome: Outcome, placement: Placement) -> dict[str, Any]:
    """The outcome for a program; the manifest as it was written."""
    return {
        "folder": str(outcome.folder),
        "manifest": json.loads(outcome.manifest.to_json()),
        "ratio": outcome.manifest.size_bytes / outcome.manifest.source.size_bytes,
        "source": asdict(outcome.source),
        "candidates": [asdict(candidate) for candidate in outcome.candidates],
        "placement": asdict(placement),
    }


def print_wide(console: Console, renderable: RenderableType) -> None:
    """Print without cutting words off where the output is a file or a pipe."""
    if not console.is_terminal:
        console.width = 200
    console.print(renderable, soft_wrap=False)


def size(size_bytes: int) -> str:
    """A file's size as people say it: 63.0 KB, 22.9 MB."""
    kilobytes = size_bytes / 1024
    return f"{kilobytes:,.1f} KB" if kilobytes < 1024 else f"{kilobytes / 1024:,.1f} MB"


def _before_and_after(outcome: Outcome) -> Table:
    manifest, quality = outcome.manifest, outcome.manifest.quality
    before, after = outcome.source, manifest.measurements
    ratio = manifest.size_bytes / manifest.source.size_bytes
    table = _table("", "fp32", manifest.recipe, "change")
    table.add_row("size", size(manifest.source.size_bytes), size(manifest.size_bytes), f"× {ratio:.2f}")
    table.add_row(quality.metric, f"{quality.reference:.4f}", f"{quality.measured:.4f}", f"{0.0 - quality.drop:+.4f}")
    table.add_row(f"p50, batch {before.latency[0].batch_size}", _p50(before), _p50(after), _times(before, after))
    table.add_row("load", f"{before.load_ms:.1f} ms", f"{after.load_ms:.1f} ms", "")
    table.add_row("peak memory", f"{before.peak_memory_mb:.0f} MB", f"{after.peak_memory_mb:.0f} MB", "")
    return table


def _candidates(candidates: tuple[Candidate, ...], chosen: str) -> Table:
    table = _table("recipe", "size", "quality")
    table.add_column("")
    for item in candidates:
        won = item.recipe == chosen
        figures = (size(item.size_bytes), f"{item.quality.measured:.4f}") if item.quality else ("–", "–")
        table.add_row(item.recipe, *figures, "chosen" if won else item.reason, style="green" if won else "")
    return table


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _p50(measured: Measurements) -> str:
    return f"{measured.latency[0].p50_ms:.3f} ms"


def _times(before: Measurements, after: Measurements) -> str:
    return f"× {after.latency[0].p50_ms / before.latency[0].p50_ms:.2f}"
