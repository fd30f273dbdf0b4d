"""What searches find out, shared by the tests of one run: the same recipe on the same model and
samples is tried once.

A trial is a process of two seconds, and dozens of tests search the recipes of the same few models.
Tests about trials themselves do without.
"""

import hashlib
import pickle
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxlift.compress.cpu.instructions import InstructionSet
from onnxlift.compress.cpu.process import run_on
from onnxlift.compress.recipes.recipe import Recipe
from onnxlift.compress.search import instruction_sets, preparation, run
from onnxlift.compress.search.trial_pool import Trial, TrialSetup, run_trials
from tests.support.workers import shared_folder

Feeds = Sequence[Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class TrialStore:
    """A folder of finished trials, under the keys of their searches."""

    folder: Path

    def run_trials(
        self,
        setup: TrialSetup,
        recipes: Sequence[Recipe],
        finished: Callable[[Trial], None] = lambda _: None,
        *,
        deadline: float = float("inf"),
    ) -> dict[str, Trial]:
        """``trial_pool.run_trials``, which finds what earlier searches finished in its
        workspace.
        """
        stored = self.folder / setup.workspace.folder.name / "candidates"
        for recipe in recipes:
            candidate = setup.workspace.candidate(recipe)
            if (stored / candidate.name).exists() and not candidate.exists():
                shutil.copytree(stored / candidate.name, candidate)
        found = run_trials(setup, recipes, finished, deadline=deadline)
        for trial in found.values():
            if (trial.folder / "trial.json").exists():
                self._keep(trial.folder, stored / trial.folder.name)
        return found

    def run_on(
        self,
        instructions: InstructionSet,
        model: Path,
        feeds: Feeds,
        session_options: Mapping[str, str] | None = None,
        **options: Any,
    ) -> list[dict[str, np.ndarray]]:
        """``process.run_on``, once for the same model and feeds."""
        files = [path.read_bytes() for path in sorted(model.parent.iterdir())]
        asked = (instructions, model.name, files, feeds, session_options, options)
        path = self.folder / "answers" / hashlib.sha256(pickle.dumps(asked)).hexdigest()
        if not path.exists():
            found = run_on(instructions, model, feeds, session_options, **options)
            with tempfile.NamedTemporaryFile(dir=self.folder) as unfinished:
                unfinished.write(pickle.dumps(found))
                unfinished.flush()
                self._keep(Path(unfinished.name), path)
        answers: list[dict[str, np.ndarray]] = pickle.loads(path.read_bytes())
        return answers

    def _keep(self, found: Path, target: Path) -> None:
        """Copy a file or folder; of two workers that do so at a time, one is heard."""
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            copy = Path(scratch) / "copy"
            shutil.copytree(found, copy) if found.is_dir() else shutil.copy(found, copy)
            try:
                copy.rename(target)
            except OSError:
                if not target.exists():
                    raise


def share_trials(factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the searches of a test take what another one found out, and keep what they do."""
    store = TrialStore(shared_folder(factory) / "trials")
    store.folder.mkdir(exist_ok=True)
    monkeypatch.setattr(preparation, "run_trials", store.run_trials)
    monkeypatch.setattr(run, "run_trials", store.run_trials)
    monkeypatch.setattr(instruction_sets, "run_on", store.run_on)
