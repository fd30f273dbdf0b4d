"""What a finished search becomes: the manifest of the chosen candidate, and the report of all."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import onnx

from onnxlift.compress.gate.judgement import too_few
from onnxlift.compress.model.inventory import layer_sizes
from onnxlift.compress.model.padding import depends_on_neighbours
from onnxlift.compress.model.reading import opset
from onnxlift.compress.recipes.recipe import FP32
from onnxlift.compress.results import (
    CandidateRow,
    Limit,
    Machine,
    NodeSensitivity,
    Report,
    SampleSet,
)
from onnxlift.compress.search.instruction_sets import native_name
from onnxlift.compress.search.preparation import Prepared
from onnxlift.compress.search.run import TIME_IS_OVER
from onnxlift.compress.search.trial_pool import Trial
from onnxlift.compress.search.workspace import samples_digest
from onnxlift_runtime import __version__
from onnxlift_runtime.manifest import GENERATED, Manifest, Measurements

SMALL_BYTES: Final = 10**6
NOT_JUDGED: Final = (
    "no real data has judged this model: the gate ran on inputs made from its signature; name a "
    "file of held-out samples in quality.samples, and of calibration samples in "
    "calibration.samples for more recipes"
)


@dataclass(frozen=True)
class Outcome:
    """A written artifact: its folder and manifest, what the fp32 model costs, every candidate, and
    the report.
    """

    folder: Path
    manifest: Manifest
    source: Measurements
    report: Report

    @property
    def candidates(self) -> tuple[CandidateRow, ...]:
        """Every recipe with its reason."""
        return self.report.candidates

    @property
    def kept_fp32(self) -> bool:
        """Whether the model ships as it came, because no recipe earned its place."""
        return self.manifest.recipe == FP32.name


def manifest_of(
    prepared: Prepared, trial: Trial, row: CandidateRow, before: Measurements, after: Measurements
) -> Manifest:
    """The manifest of one candidate; its files are those that were judged."""
    bench = prepared.bench
    draft, qualities = bench.setup.draft, bench.gate.qualities(row)
    graph = onnx.load(trial.model_folder / draft.model_file, load_external_data=False)
    verified = {native_name(): 1.0} if native_name() in prepared.model.targets else {}
    # Scales that are taken from a whole batch make an answer depend on its neighbours, and on what
    # fills them up.
    dependent = depends_on_neighbours(graph)
    verified |= {item.instruction_set: item.measured for item in row.agreement}
    return replace(
        draft,
        recipe=trial.recipe.name,
        opset=opset(graph),
        files=trial.files,
        source=replace(draft.source, latency=before.latency),
        quality=qualities[0],
        further_quality=qualities[1:],
        measurements=after,
        optimize_at_load=trial.optimize_at_load,
        verified_on=verified,
        not_verified_on=dict(bench.missing),
        max_joined_rows=min(prepared.model.quality.batch_size, draft.max_batch_size)
        if dependent
        else 0,
        padding=None if dependent else draft.padding,
    )


def report_of(
    prepared: Prepared,
    trial: Trial,
    manifest: Manifest,
    rows: Sequence[CandidateRow],
    sensitivity: Sequence[NodeSensitivity],
    seconds: float,
) -> Report:
    """Everything the search found."""
    model, bench = prepared.model, prepared.bench
    measured = manifest.measurements
    graph = onnx.load(trial.model_folder / manifest.model_file, load_external_data=False)
    return Report(
        model=manifest.name,
        version=manifest.version,
        source=manifest.source,
        opset=manifest.opset,
        limits=bench.gate.limits,
        optimize_for=model.optimize_for,
        targets=tuple(model.targets),
        machine=Machine(
            measured.cpu, platform.machine(), measured.threads, measured.onnxruntime, __version__
        ),
        candidates=tuple(rows),
        sensitivity=tuple(sensitivity),
        layers=layer_sizes(prepared.source.proto, graph),
        samples=_sample_sets(prepared),
        files=manifest.files,
        notes=_notes(manifest, rows, bench.gate.limits),
        budget_s=model.search_budget_s,
        seconds=round(seconds, 1),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _notes(
    manifest: Manifest, rows: Sequence[CandidateRow], limits: Sequence[Limit]
) -> tuple[str, ...]:
    chosen = next((row for row in rows if row.status == "chosen"), None)
    figures = [(limit, chosen.worst(limit)) for limit in limits] if chosen else []
    notes = [
        NOT_JUDGED if manifest.judged_on == GENERATED else "",
        *(too_few(limit, figure) for limit, figure in figures if figure),
        *(f"not verified on {name}: {reason}" for name, reason in manifest.not_verified_on.items()),
    ]
    late = [row for row in rows if row.reason.endswith(TIME_IS_OVER)]
    if manifest.recipe == FP32.name and len(rows) > 1 and not late:
        small = manifest.source.size_bytes < SMALL_BYTES
        hint = "; below 1 MB there is little to gain" if small else ""
        notes.append(f"the model ships as fp32: no recipe made it better{hint}")
    if late:
        notes.append(
            f"the search's time was over before {len(late)} of {len(rows)} recipes were judged; "
            f"with more of it "
            "(search_budget_s, --budget) a better one may be found, and the search goes on where "
            "it was"
        )
    return tuple(filter(None, notes))


def _sample_sets(prepared: Prepared) -> tuple[SampleSet, ...]:
    model, held_out = prepared.model, prepared.bench.held_out
    origin = model.quality.samples.name if model.quality.samples else GENERATED
    sets = [SampleSet("held out", origin, samples_digest(held_out), len(held_out))]
    if model.calibration is not None and prepared.calibration is not None:
        found = prepared.calibration
        sets.append(
            SampleSet(
                "calibration", model.calibration.samples.name, samples_digest(found), len(found)
            )
        )
    return tuple(sets)
