"""What ``onnxlift compress`` tells: a table before and after, a row for every candidate, or
JSON.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxlift.compress.pipeline import Comparison, Outcome
from onnxlift.compress.results import CandidateRow, Limit, plain
from onnxlift.placement import Placement
from onnxlift.units import NOTHING, size
from onnxlift_runtime.manifest import Manifest


def as_tables(outcome: Outcome, placement: Placement, *, explain: bool = False) -> RenderableType:
    """The outcome for a reader: before and after, the candidates, and where the figures come from.

    ``explain`` adds what was predicted and measured of every candidate.
    """
    manifest, report = outcome.manifest, outcome.report
    title = Text.assemble((f"{manifest.name} {manifest.version}", "bold"), f" → {outcome.folder}")
    measured = manifest.measurements
    origin = (
        f"measured with {measured.threads} thread, onnxruntime {measured.onnxruntime}, "
        f"{measured.cpu}"
    )
    parts: list[RenderableType] = [title, "", _before_and_after(outcome), ""]
    parts += [_candidates(outcome.candidates, report.limits[0]), ""]
    if explain:
        parts += [
            *(line for row in outcome.candidates for line in _explained(row, report.limits)),
            "",
        ]
    if manifest.verified_on:
        parts.append(Text(f"answers agree on {_agreements(manifest.verified_on.items())}"))
    parts += [Text(note, "yellow") for note in report.notes]
    parts.append(_batch(manifest))
    return Group(*parts, Text(origin, "dim"), f"placement: {placement}\n")


def _batch(manifest: Manifest) -> str:
    """What counts the rows of a request, as it was configured or found."""
    axes = manifest.batch_axes
    if axes is None:
        return "batch in dimension 0"
    if not axes:
        return "no batch: each request is one inference, never joined with another"
    listed = ", ".join(f"{name} {axis}" for name, axis in axes.items())
    if manifest.max_batch_size:
        return f"batch in dimension: {listed}"
    return f"batch in dimension: {listed}; its size is fixed"


def as_json(outcome: Outcome, placement: Placement) -> dict[str, Any]:
    """The outcome for a program; the manifest as it was written."""
    return {
        "folder": str(outcome.folder),
        "manifest": json.loads(outcome.manifest.to_json()),
        "ratio": outcome.manifest.size_bytes / outcome.manifest.source.size_bytes,
        "source": asdict(outcome.source),
        "candidates": [plain(asdict(row)) for row in outcome.candidates],
        "notes": list(outcome.report.notes),
        "placement": asdict(placement),
    }


def side_by_side(comparison: Comparison, name: str) -> RenderableType:
    """Recipes in columns, a row for each figure."""
    rows = comparison.rows
    table = _table(name, *(row.recipe for row in rows))
    table.add_row("size", *(size(row.size_bytes) if row.size_bytes else NOTHING for row in rows))
    for limit in comparison.limits:
        worst = [row.worst(limit) for row in rows]
        table.add_row(
            limit.metric, *(_number(item.measured if item else None, "{:.6g}") for item in worst)
        )
        table.add_row(
            f"{limit.metric}, bound",
            *(_number(item.bound if item else None, "{:.6g}") for item in worst),
        )
    for batch in sorted({item.batch_size for row in rows for item in row.latency}):
        table.add_row(f"p50, batch {batch}", *(_p50_at(row, batch) for row in rows))
    table.add_row("load", *(_number(row.load_ms, "{:.1f} ms") for row in rows))
    table.add_row("peak memory", *(_number(row.peak_memory_mb, "{:.0f} MB") for row in rows))
    table.add_row("1,000 requests", *(_number(row.cost_usd_per_1000, "${:.6f}") for row in rows))
    for target in sorted({item.instruction_set for row in rows for item in row.agreement}):
        table.add_row(f"agreement on {target}", *(_agreement_on(row, target) for row in rows))
    verdicts = [Text(f"{row.recipe}: {row.reason}") for row in rows]
    return Group(table, "", *verdicts, Text("nothing was written", "dim"))


def comparison_as_json(comparison: Comparison, name: str) -> dict[str, Any]:
    """The same for a program."""
    limits = [asdict(limit) for limit in comparison.limits]
    return {
        "model": name,
        "limits": limits,
        "candidates": [plain(asdict(row)) for row in comparison.rows],
    }


def _before_and_after(outcome: Outcome) -> Table:
    manifest = outcome.manifest
    before, after = outcome.source, manifest.measurements
    ratio = manifest.size_bytes / manifest.source.size_bytes
    table = _table("", "fp32", manifest.recipe, "change")
    table.add_row(
        "size", size(manifest.source.size_bytes), size(manifest.size_bytes), f"× {ratio:.2f}"
    )
    for quality in (manifest.quality, *manifest.further_quality):
        change = f"{quality.measured - quality.reference:+.4f}"
        table.add_row(quality.metric, f"{quality.reference:.4f}", f"{quality.measured:.4f}", change)
    old, new = before.latency[0], after.latency[0]
    table.add_row(
        f"p50, batch {old.batch_size}",
        f"{old.p50_ms:.3f} ms",
        f"{new.p50_ms:.3f} ms",
        f"× {new.p50_ms / old.p50_ms:.2f}",
    )
    table.add_row("load", f"{before.load_ms:.1f} ms", f"{after.load_ms:.1f} ms", "")
    table.add_row(
        "peak memory", f"{before.peak_memory_mb:.0f} MB", f"{after.peak_memory_mb:.0f} MB", ""
    )
    return table


def _candidates(candidates: Sequence[CandidateRow], limit: Limit) -> Table:
    table = _table("recipe", "size", limit.metric, "p50")
    table.add_column("")
    for row in candidates:
        won = row.status == "chosen"
        worst = row.worst(limit)
        p50 = _number(row.latency[0].p50_ms if row.latency else None, "{:.3f} ms")
        figures = (
            size(row.size_bytes) if row.size_bytes else NOTHING,
            f"{worst.measured:.4f}" if worst else NOTHING,
            p50,
        )
        verdict = f"chosen: {row.reason}" if won else row.reason
        table.add_row(row.recipe, *figures, verdict, style="green" if won else "")
    return table


def _explained(row: CandidateRow, limits: Sequence[Limit]) -> Iterable[Text]:
    """A paragraph for one candidate: its steps, what was predicted and measured, and the
    decision.
    """
    yield Text.assemble((row.recipe, "bold"), f" · {row.status} · {row.reason}")
    if row.steps:
        yield Text(f"  steps: {'; '.join(row.steps)}", "dim")
    if row.predicted_error is not None:
        yield Text(
            f"  predicted error: {row.predicted_error:.3g} (half the squared relative error, 1 − "
            f"cosine)"
        )
    for limit in limits:
        for figure in (item for item in row.figures if item.metric == limit.metric):
            loss = limit.loss(figure.bound)
            blind = ", which so few samples cannot show" if limit.is_blind(figure) else ""
            yield Text(
                f"  {figure.metric} on {figure.instruction_set}, batch {figure.batch_size}: "
                f"{figure.measured:.6g}, "
                f"loses {max(loss, 0):.3g} at most with {limit.confidence:.0%} confidence, "
                f"{limit.max_loss:.3g} is allowed{blind}"
            )
    if row.agreement:
        pairs = ((item.instruction_set, item.measured) for item in row.agreement)
        yield Text(f"  agreement: {_agreements(pairs)}")
    if row.cost_usd_per_1000 is not None:
        yield Text(f"  1,000 requests: ${row.cost_usd_per_1000:.6f} on Lambda")
    if row.seconds:
        yield Text(
            f"  took {row.seconds:.1f} s{', in an earlier run' if row.cached else ''}", "dim"
        )


def _agreements(pairs: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {measured:.4f}" for name, measured in pairs)


def _agreement_on(row: CandidateRow, target: str) -> str:
    found = next((item.measured for item in row.agreement if item.instruction_set == target), None)
    return _number(found, "{:.4f}")


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column(first, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else form.format(value)


def _p50_at(row: CandidateRow, batch: int) -> str:
    return _number(
        next((item.p50_ms for item in row.latency if item.batch_size == batch), None), "{:.3f} ms"
    )
