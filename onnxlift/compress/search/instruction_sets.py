"""A candidate's answers on the other instruction sets of its architecture, each in a process of its
own.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

import numpy as np

from onnxlift.compress.cpu.instructions import Availability, InstructionSet, available, native
from onnxlift.compress.cpu.process import run_on
from onnxlift.compress.gate.judgement import Gate, agreement
from onnxlift.compress.model.answers import Answers, join_answers, load_answers, save_answers
from onnxlift.compress.model.batch import Batch
from onnxlift.compress.model.samples import Array, Samples
from onnxlift.compress.results import Agreement, Figure
from onnxlift.compress.search.trial_pool import Trial, TrialSetup
from onnxlift.compress.search.trial_process import is_trimmed, served_feeds
from onnxlift_runtime.errors import InferenceFailed, ModelUnavailable

# qemu-user takes 30 to 60 times as long, and three seconds to start.
_SLOWDOWN: Final = 50
_EMULATED_S: Final = 25.0
_FEWEST: Final = 32
_THIS_MACHINE: Final = "this machine"


@dataclass(frozen=True)
class Target:
    """One instruction set and the road to it."""

    road: Availability

    @property
    def name(self) -> str:
        """As the manifest names it."""
        return self.road.instructions.value


@dataclass(frozen=True)
class Crossing:
    """What came of one candidate on one instruction set; ``broken`` is empty where all outputs
    live.
    """

    figures: tuple[Figure, ...]
    agreement: Agreement
    broken: str


def find_targets(
    names: Sequence[str], datatypes: Sequence[str]
) -> tuple[tuple[Target, ...], dict[str, str]]:
    """The targets that can be reached besides this machine's own, and the reasons of those that
    cannot.
    """
    reached, missing = [], {}
    for name in names:
        road = available(InstructionSet(name))
        if road.road == "native":
            continue
        if not road:
            missing[name] = road.reason
        elif {"BYTES", "BF16"} & set(datatypes):
            missing[name] = "text and bfloat16 cannot be sent to a process of another CPU"
        else:
            reached.append(Target(road))
    return tuple(reached), missing


def working(
    targets: Sequence[Target], setup: TrialSetup, fp32: Trial, held_out: Samples
) -> tuple[tuple[Target, ...], dict[str, str]]:
    """The targets on which the fp32 model answers one batch, and the reasons of those on which
    nothing can be seen.
    """
    found, failing = [], {}
    for target in targets:
        try:
            _run(
                target,
                fp32,
                setup,
                held_out.take(range(min(len(held_out), setup.batches[0]))),
                setup.batches[:1],
            )
            found.append(target)
        except (InferenceFailed, ModelUnavailable) as error:
            failing[target.name] = f"not available because the fp32 model fails there too: {error}"
    return tuple(found), failing


def native_name() -> str:
    """This machine's instruction set as figures name it."""
    found = native()
    return found.value if found else _THIS_MACHINE


def cross(
    target: Target,
    trial: Trial,
    setup: TrialSetup,
    held_out: Samples,
    gate: Gate,
    known: Sequence[Figure],
) -> Crossing:
    """Answer on ``target`` and judge; ``known`` are the figures on this machine.

    Emulation takes as many samples as it answers in half a minute, evenly spread. Raises
    ``InferenceFailed`` or ``ModelUnavailable`` where the process fails, and ``QualityGateFailed``
    where it answers NaN.
    """
    picked = _picked(target, trial, len(held_out))
    there = _answers(target, trial, setup, held_out, picked)
    figures: list[Figure] = []
    agreed, broken = [], ""
    for rows in setup.batches:
        here = trial.answers(rows)
        broken = broken or gate.broken(there[rows], rows, target.name, picked)
        answered = there[rows][setup.output]
        judge = partial(gate.judge_some, picked, here[setup.output][picked], answered, known)
        everything = len(picked) == len(held_out)
        figures += (
            gate.judge(there[rows], rows, target.name) if everything else judge(rows, target.name)
        )
        # A range is taken over a whole batch, so fewer samples than here are other batches there.
        if rows == 1 or everything:
            agreed.append(agreement(here[setup.output][picked], answered))
    agrees = Agreement(target.name, min(agreed), str(target.road.road))
    return Crossing(tuple(figures), agrees, broken)


def _picked(target: Target, trial: Trial, count: int) -> Array:
    seconds = sum((trial.answer_seconds or {}).values())
    if target.road.road == "emulated" and seconds * _SLOWDOWN > _EMULATED_S:
        count_s = int(count * _EMULATED_S / (seconds * _SLOWDOWN))
        return np.linspace(0, count - 1, min(count, max(_FEWEST, count_s))).astype(np.int64)
    return np.arange(count)


def _answers(
    target: Target, trial: Trial, setup: TrialSetup, held_out: Samples, picked: Array
) -> Mapping[int, Answers]:
    """The answers by batch size; kept beside the candidate, so that a later run need not ask
    again.
    """
    digest = hashlib.sha256(
        repr((trial.files, picked.tolist(), setup.batches)).encode()
    ).hexdigest()[:16]
    paths = {rows: trial.folder / f"{target.name}-{digest}-{rows}.npz" for rows in setup.batches}
    if not all(path.exists() for path in paths.values()):
        found = _run(target, trial, setup, held_out.take(picked), setup.batches)
        for rows, path in paths.items():
            unfinished = path.with_suffix(".part.npz")
            save_answers(unfinished, found[rows])
            unfinished.replace(path)
    return {rows: load_answers(path) for rows, path in paths.items()}


def _run(
    target: Target, trial: Trial, setup: TrialSetup, samples: Samples, batches: Sequence[int]
) -> Mapping[int, Answers]:
    trimmed, batch = is_trimmed(setup.draft, setup.output), Batch.of_manifest(setup.draft)
    feeds = {rows: list(served_feeds(samples, rows, trimmed=trimmed)) for rows in batches}
    every = [feed for rows in batches for feed in feeds[rows]]
    model = trial.model_folder / setup.draft.model_file
    options, optimize = setup.draft.session_options, trial.optimize_at_load
    results = iter(
        run_on(target.road.instructions, model, every, options, optimize_at_load=optimize)
    )
    outputs = setup.draft.outputs
    return {
        rows: join_answers(
            islice(results, len(feeds[rows])), outputs, setup.output, len(samples), batch
        )
        for rows in batches
    }
