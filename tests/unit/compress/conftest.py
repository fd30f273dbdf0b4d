"""Fixtures of the tests of ``compress``."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from onnxlift.compress.cpu.instructions import Availability, InstructionSet
from onnxlift.compress.search import instruction_sets, timing
from onnxlift.config import Config
from tests.support import builders
from tests.support.compress.bench import FIGURES, Make
from tests.support.compress.trials import share_trials

Feeds = Sequence[Mapping[str, np.ndarray]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a model with calibration and held-out samples, and configure it as ``m``; keywords
    change its table.
    """

    def make(model: onnx.ModelProto | None = None, **changes: Any) -> Config:
        model = model or builders.mlp(16, 64, 4)
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        random = np.random.default_rng(5)
        shape = [dim.dim_value or 1 for dim in model.graph.input[0].type.tensor_type.shape.dim][1:]
        name = model.graph.input[0].name
        kind = model.graph.input[0].type.tensor_type.elem_type
        floats = np.float16 if kind == onnx.TensorProto.FLOAT16 else np.float32
        rows = random.normal(size=(100, *shape)).astype(floats)
        calibration, held_out = (
            {name: rows[:40]},
            {name: rows[40:], "labels": np.zeros(60, np.int64)},
        )
        np.savez(tmp_path / "calibration.npz", **calibration)  # type: ignore[arg-type]
        np.savez(tmp_path / "heldout.npz", **held_out)  # type: ignore[arg-type]
        table = {
            "source": tmp_path / "m.onnx",
            "max_slowdown": 100,
            "calibration": {"samples": tmp_path / "calibration.npz"},
            "quality": {"samples": tmp_path / "heldout.npz", "metric": "cosine", "max_drop": 0.05},
            **changes,
        }
        folders = {"artifacts": tmp_path / "artifacts", "cache": tmp_path / "cache"}
        return Config.model_validate({"service": "s", **folders, "models": {"m": table}})

    return make


@pytest.fixture
def shared_trials(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spare the trials that another test has made."""
    share_trials(tmp_path_factory, monkeypatch)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the fresh processes where figures do not matter."""
    monkeypatch.setattr(timing, "measure", lambda *_: FIGURES)
    monkeypatch.setattr(timing, "race", lambda *_: (1.0, 1.0))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Path], None]], None]:
    """Take this machine for one that reaches AVX2 in this process; a function hears of each model
    before it runs.
    """

    def install(on_progress: Callable[[Path], None]) -> None:
        def run_on(
            _: InstructionSet, model: Path, feeds: Feeds, *_rest: Any, **_options: Any
        ) -> list[dict[str, Any]]:
            on_progress(model)
            session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
            names = [output.name for output in session.get_outputs()]
            return [dict(zip(names, session.run(names, dict(feed)), strict=True)) for feed in feeds]

        monkeypatch.setattr(
            instruction_sets, "available", lambda wanted: Availability(wanted, "masked", "a test")
        )
        monkeypatch.setattr(instruction_sets, "run_on", run_on)
        # A CPU that has AVX2 and no more would not look elsewhere.
        monkeypatch.setattr(instruction_sets, "native", lambda: InstructionSet.VNNI)

    return install
