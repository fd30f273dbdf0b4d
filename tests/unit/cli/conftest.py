"""Fixtures of the tests of the command line."""

from pathlib import Path

import numpy as np
import pytest

from onnxlift.compress.measure import measurement as measuring
from tests.support import builders
from tests.support.compress.trials import share_trials


@pytest.fixture
def shared_trials(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spare the trials that another test has made."""
    share_trials(tmp_path_factory, monkeypatch)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of two models, ``conv`` and ``tiny``; the second is too small to gain
    anything.
    """
    monkeypatch.setattr(measuring, "SECONDS", 0.01)
    random = np.random.default_rng(1)
    text = 'service = "demo"\n'
    for name, model, shape in [
        ("conv", builders.convolution(), (1, 8, 8)),
        ("tiny", builders.mlp(4, 2, 2), (4,)),
    ]:
        (tmp_path / f"{name}.onnx").write_bytes(model.SerializeToString())
        for role in ("calibration", "heldout"):
            arrays = {
                model.graph.input[0].name: random.normal(size=(40, *shape)).astype(np.float32)
            }
            np.savez(tmp_path / f"{name}-{role}.npz", **arrays)  # type: ignore[arg-type]
        text += (
            f'[models.{name}]\nsource = "{name}.onnx"\nmax_slowdown = 100\n'
            f'calibration.samples = "{name}-calibration.npz"\n'
            f'quality = {{ samples = "{name}-heldout.npz", metric = "cosine", max_drop = 0.05 }}\n'
        )
    path = tmp_path / "onnxlift.toml"
    path.write_text(text)
    return path
