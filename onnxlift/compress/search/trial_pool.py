"""Candidates in processes of their own, several at a time: a crash, a kill or a hang is that
candidate's reason.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from onnxlift.compress.model.answers import Answers, load_answers
from onnxlift.compress.recipes.recipe import Recipe
from onnxlift.compress.search.trial_process import FILES, RESULT_NAME
from onnxlift.compress.search.workspace import Workspace
from onnxlift_runtime.dataplane.session import processor_count
from onnxlift_runtime.manifest import FileEntry, Manifest, file_sha256

TIMEOUT_S: Final = 600
_POLL_S: Final = 0.01
_LARGE_BYTES: Final = (
    512 * 2**20
)  # several copies of a larger model at a time may not fit into memory
_MEMORY_SHORT: Final = 137
# Matrices are too small for more: one thread factors them four times as fast as two that wait for
# each other.
_THREADS: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Trial:
    """What came of one recipe: its files and where its answers lie, or the reason why there are
    none.

    ``cached`` is true where an earlier run made it. ``unsteady`` are the outputs of the fp32 model
    that differed between two runs, ``notes`` say what the recipe's steps left out.
    """

    recipe: Recipe
    folder: Path
    files: tuple[FileEntry, ...] = ()
    reason: str = ""
    seconds: float = 0.0
    answer_seconds: Mapping[int, float] | None = None
    optimize_at_load: bool = True
    cached: bool = False
    gzip_bytes: int | None = None
    unsteady: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """The size of all files together."""
        return sum(entry.size_bytes for entry in self.files)

    @property
    def model_folder(self) -> Path:
        """Where the files lie."""
        return self.folder / FILES

    def answers(self, rows: int) -> Answers:
        """The answers to the held-out samples, computed ``rows`` at a time."""
        return load_answers(self.folder / f"answers-{rows}.npz")

    def intact(self) -> bool:
        """Whether the files are still those that were judged."""
        paths = [self.model_folder / entry.path for entry in self.files]
        return all(path.is_file() for path in paths) and all(
            file_sha256(path) == entry.sha256 for path, entry in zip(paths, self.files, strict=True)
        )


@dataclass(frozen=True)
class TrialSetup:
    """What all trials of a search share.

    ``batches`` are the numbers of rows that are answered at a time, ``preset`` is what the
    candidates are packed for.
    """

    workspace: Workspace
    draft: Manifest
    output: str
    batches: tuple[int, ...]
    source_bytes: int
    preset: str

    @property
    def at_a_time(self) -> int:
        """How many processes may run together."""
        return 1 if self.source_bytes > _LARGE_BYTES else max(1, processor_count())


@dataclass
class _Running:
    recipe: Recipe
    folder: Path
    process: subprocess.Popen[bytes]
    started: float


def run_trials(
    setup: TrialSetup,
    recipes: Sequence[Recipe],
    finished: Callable[[Trial], None] = lambda _: None,
    *,
    deadline: float = float("inf"),
) -> dict[str, Trial]:
    """Make every recipe's candidate; trials by recipe name, without those that ``deadline``
    (monotonic) cut off.

    ``finished`` hears each trial as it comes, in no fixed order.
    """
    found: dict[str, Trial] = {}
    waiting, running = list(recipes), list[_Running]()

    def take(trial: Trial) -> None:
        found[trial.recipe.name] = trial
        finished(trial)

    try:
        while waiting or running:
            while waiting and len(running) < setup.at_a_time and monotonic() < deadline:
                recipe = waiting.pop(0)
                known = read_trial(setup.workspace.candidate(recipe), recipe)
                take(known) if known else running.append(_start(setup, recipe))
            if not running and monotonic() >= deadline:
                break
            for item in [item for item in running if _has_ended(item, deadline)]:
                running.remove(item)
                if trial := _collect(item, deadline):
                    take(trial)
            sleep(_POLL_S)
    finally:
        for item in running:
            _stop(item)
    return found


def read_trial(folder: Path, recipe: Recipe) -> Trial | None:
    """The trial that an earlier run finished, None where there is none or its files changed."""
    trial = _read(folder, recipe, cached=True)
    return trial if trial and (trial.reason or trial.intact()) else None


def _start(setup: TrialSetup, recipe: Recipe) -> _Running:
    folder = setup.workspace.candidate(recipe)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)
    request = {
        "workspace": str(setup.workspace.folder),
        "folder": str(folder),
        "steps": recipe.to_data(),
        "manifest": setup.draft.to_json(),
        "preset": setup.preset,
        "output": setup.output,
        "batches": list(setup.batches),
        "threads": 1,
        "path": sys.path,
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "onnxlift.compress.search.trial_process"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, **_THREADS, "TMPDIR": str(folder / "tmp")},
            start_new_session=True,  # Ctrl-C is this process's to answer
        )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it died at once; its exit status tells
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
    return _Running(recipe, folder, process, monotonic())


def _has_ended(item: _Running, deadline: float) -> bool:
    return item.process.poll() is not None or monotonic() > min(deadline, item.started + TIMEOUT_S)


def _collect(item: _Running, deadline: float) -> Trial | None:
    """The result of a process that ended or must; None where the search's time ended it."""
    status = item.process.poll()
    _stop(item)
    if status is None:
        late = monotonic() - item.started > TIMEOUT_S
        return (
            _failed(item, f"no result after {TIMEOUT_S:g} s")
            if late or monotonic() <= deadline
            else None
        )
    if status != 0:
        return _failed(item, _death(status, item.folder))
    return _read(item.folder, item.recipe, cached=False) or _failed(item, "it left no result")


def _failed(item: _Running, reason: str) -> Trial:
    return Trial(item.recipe, item.folder, reason=reason, seconds=monotonic() - item.started)


def _death(status: int, folder: Path) -> str:
    if status in (-9, _MEMORY_SHORT):
        return "its process was killed (signal 9); was memory short?"
    if status < 0:
        return f"its process died of signal {-status}"
    lines = (folder / "log").read_text("utf-8", "replace").strip().splitlines()
    return f"its process failed: {lines[-1] if lines else f'exit status {status}'}"[:300]


def _stop(item: _Running) -> None:
    if item.process.poll() is None:
        item.process.kill()
        item.process.wait()
    assert item.process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        item.process.stdin.close()
    shutil.rmtree(item.folder / "tmp", ignore_errors=True)


def _read(folder: Path, recipe: Recipe, *, cached: bool) -> Trial | None:
    try:
        found: dict[str, Any] = json.loads((folder / RESULT_NAME).read_text("utf-8"))
        files = tuple(FileEntry(*entry) for entry in found.get("files", ()))
        seconds = {int(rows): float(took) for rows, took in found.get("answer_seconds", {}).items()}
        optimize = bool(found.get("optimize_at_load", True))
        return Trial(
            recipe,
            folder,
            files,
            found.get("reason", ""),
            float(found["seconds"]),
            seconds,
            optimize,
            cached,
            found.get("gzip_bytes"),
            tuple(found.get("unsteady", ())),
            tuple(found.get("notes", ())),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
