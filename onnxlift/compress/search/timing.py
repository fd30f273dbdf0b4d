"""Load time, latency, memory and price of a candidate that passed; kept beside it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from onnxlift.compress.measure.measurement import BATCH_SIZES, measure
from onnxlift.compress.model.samples import Samples
from onnxlift.compress.results import CandidateRow
from onnxlift.compress.search.trial_pool import Ground, Trial
from onnxlift.cost.estimate import request_usd
from onnxlift.cost.prices import read_prices
from onnxlift.placement import MEMORY_PER_VCPU_MB, needed_memory_mb
from onnxlift_runtime.errors import ModelRefused
from onnxlift_runtime.manifest import Latency, Measurements

_FILE: Final = "measurements.json"


def timed(
    ground: Ground, trial: Trial, held_out: Samples, row: CandidateRow, *, skip: bool = False
) -> CandidateRow:
    """The row with its figures of speed; ``skip`` leaves them out. A model that dies of it is a
    failed candidate.
    """
    if skip:
        return row
    try:
        found = measurements(ground, trial, held_out)
    except ModelRefused as error:
        return replace(row, status="failed", reason=str(error))
    return replace(
        row,
        latency=found.latency,
        load_ms=found.load_ms,
        peak_memory_mb=found.peak_memory_mb,
        cost_usd_per_1000=None if ground.preset == "gpu" else _on_lambda(found, ground),
    )


def _on_lambda(found: Measurements, ground: Ground) -> float:
    """What a thousand requests cost, in US dollars."""
    memory_mb = max(needed_memory_mb(replace(ground.draft, measurements=found)), MEMORY_PER_VCPU_MB)
    single = min(found.latency, key=lambda item: item.batch_size)
    return 1000 * request_usd(read_prices(), memory_mb, single.p50_ms, ground.draft.architecture)


def measurements(ground: Ground, trial: Trial, held_out: Samples) -> Measurements:
    """What loading and running a candidate costs, from an earlier run where its files are the same.

    Raises ``ModelRefused`` where its process dies of it.
    """
    path = trial.folder / _FILE
    if (known := _read(path)) is not None:
        return known
    draft = replace(ground.draft, optimize_at_load=trial.optimize_at_load)
    found = measure(trial.model_folder, draft, held_out, _batch_sizes(ground))
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(asdict(found)), "utf-8")
    unfinished.replace(path)
    return found


def _batch_sizes(ground: Ground) -> Sequence[int]:
    """A fixed batch, or the usual ones."""
    return BATCH_SIZES if ground.draft.max_batch_size else ground.batches[-1:]


def _read(path: Path) -> Measurements | None:
    try:
        found = json.loads(path.read_text("utf-8"))
        return Measurements(
            **{**found, "latency": tuple(Latency(**item) for item in found["latency"])}
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
