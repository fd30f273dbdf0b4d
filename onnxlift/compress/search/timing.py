"""Load time, latency, memory and price of a candidate that passed; kept beside it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from onnxlift.compress.measure.measurement import BATCH_SIZES, measure, race
from onnxlift.compress.model.samples import Samples
from onnxlift.compress.results import CandidateRow
from onnxlift.compress.search.trial_pool import Trial, TrialSetup
from onnxlift.cost.estimate import request_usd
from onnxlift.cost.prices import read_prices
from onnxlift.placement import MEMORY_PER_VCPU_MB, needed_memory_mb
from onnxlift_runtime.errors import ModelRefused
from onnxlift_runtime.manifest import Latency, Measurements

_FILE: Final = "measurements.json"


def timed(
    setup: TrialSetup, trial: Trial, held_out: Samples, row: CandidateRow, *, skip: bool = False
) -> CandidateRow:
    """The row with its figures of speed; ``skip`` leaves them out. A model that dies of it is a
    failed candidate.
    """
    if skip:
        return row
    try:
        found = measurements(setup, trial, held_out)
    except ModelRefused as error:
        return replace(row, status="failed", reason=str(error))
    return replace(
        row,
        latency=found.latency,
        load_ms=found.load_ms,
        peak_memory_mb=found.peak_memory_mb,
        cost_usd_per_1000=None if setup.preset == "gpu" else _on_lambda(found, setup),
    )


def _on_lambda(found: Measurements, setup: TrialSetup) -> float:
    """What a thousand requests cost, in US dollars."""
    memory_mb = max(needed_memory_mb(replace(setup.draft, measurements=found)), MEMORY_PER_VCPU_MB)
    single = min(found.latency, key=lambda item: item.batch_size)
    return 1000 * request_usd(read_prices(), memory_mb, single.p50_ms, setup.draft.architecture)


def measurements(setup: TrialSetup, trial: Trial, held_out: Samples) -> Measurements:
    """What loading and running a candidate costs, from an earlier run where its files are the same.

    Raises ``ModelRefused`` where its process dies of it.
    """
    path = trial.folder / _FILE
    if (known := _read(path)) is not None:
        return known
    draft = replace(setup.draft, optimize_at_load=trial.optimize_at_load)
    found = measure(trial.model_folder, draft, held_out, _batch_sizes(setup))
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(asdict(found)), "utf-8")
    unfinished.replace(path)
    return found


def slowdown(setup: TrialSetup, fp32: Trial, trial: Trial, held_out: Samples) -> float:
    """How many times as long as fp32 a candidate takes for its smallest batch, in turns.

    Raises ``ModelRefused`` where the process dies of it.
    """
    models = [
        (item.model_folder, replace(setup.draft, optimize_at_load=item.optimize_at_load))
        for item in (fp32, trial)
    ]
    before, after = race(models, held_out, min(_batch_sizes(setup)))
    return after / before


def _batch_sizes(setup: TrialSetup) -> Sequence[int]:
    """A fixed batch, or the usual ones."""
    return BATCH_SIZES if setup.draft.max_batch_size else setup.batches[-1:]


def _read(path: Path) -> Measurements | None:
    try:
        found = json.loads(path.read_text("utf-8"))
        return Measurements(
            **{**found, "latency": tuple(Latency(**item) for item in found["latency"])}
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
