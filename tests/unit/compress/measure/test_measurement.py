"""Measurements come from a fresh process, cover every batch size, and say why where there are
none.
"""

import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from onnxlift.compress.measure import measurement as measuring
from onnxlift.compress.measure.measurement import measure, race
from onnxlift.compress.measure.probe import peak_memory_mb
from onnxlift.compress.model.samples import Samples
from onnxlift_runtime.errors import ModelRefused
from tests.support import builders
from tests.support.errors import raises


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SECONDS", 0.01)


def test_every_batch_size_is_measured_though_there_are_fewer_samples(tmp_path: Path) -> None:
    manifest = builders.write_artifact(tmp_path, builders.linear(), name="m")
    samples = Samples({"x": np.ones((3, 4), np.float32)})

    found = measure(tmp_path / "m" / "1", manifest, samples, (1, 8))

    assert [item.batch_size for item in found.latency] == [1, 8]
    assert all(0 < item.p50_ms <= item.p95_ms for item in found.latency)
    assert found.load_ms > 0
    assert (found.threads, found.onnxruntime) == (1, onnxruntime.__version__)


def test_models_that_take_turns_are_compared(tmp_path: Path) -> None:
    small = builders.write_artifact(tmp_path, builders.linear(), name="small")
    large = builders.write_artifact(tmp_path, builders.mlp(4, 2048, 2048), name="large")
    models = [(tmp_path / "small" / "1", small), (tmp_path / "large" / "1", large)]

    quick, slow = race(models, Samples({"x": np.ones((3, 4), np.float32)}), 8)

    assert 0 < quick < slow


def test_text_inputs_are_measured(tmp_path: Path) -> None:
    manifest = builders.write_artifact(tmp_path, builders.identity("BYTES", (-1, 1)), name="m")
    samples = Samples({"x": np.array([[b"one"], ["zwölf".encode()]], object)})

    found = measure(tmp_path / "m" / "1", manifest, samples, (1, 2))

    assert len(found.latency) == 2


def test_memory_is_the_fresh_process_s_own(tmp_path: Path) -> None:
    # A process that is much larger than the one it starts must not be seen in the figure.
    ballast = np.ones(300 * 2**20, np.uint8)
    manifest = builders.write_artifact(tmp_path, builders.linear(), name="m")

    found = measure(
        tmp_path / "m" / "1", manifest, Samples({"x": np.ones((1, 4), np.float32)}), (1,)
    )

    assert peak_memory_mb() > ballast.nbytes / 2**20
    assert 10 < found.peak_memory_mb < 250


def test_a_model_that_fails_is_refused_with_its_words(tmp_path: Path) -> None:
    manifest = builders.write_artifact(tmp_path, builders.failing(), name="m")

    with raises(ModelRefused, "'m'"):
        measure(tmp_path / "m" / "1", manifest, Samples({"x": np.ones((1, 4), np.float32)}), (1,))


def test_a_killed_process_is_told_from_a_failed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", os.fspath(killed))
    manifest = builders.write_artifact(tmp_path, builders.linear(), name="m")

    with raises(ModelRefused, "signal 9"):
        measure(tmp_path / "m" / "1", manifest, Samples({"x": np.ones((1, 4), np.float32)}), (1,))


def test_a_process_that_does_not_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", os.fspath(slow))
    monkeypatch.setattr(measuring, "TIMEOUT_S", 0.1)
    manifest = builders.write_artifact(tmp_path, builders.linear(), name="m")

    with raises(ModelRefused, "0.1 s"):
        measure(tmp_path / "m" / "1", manifest, Samples({"x": np.ones((1, 4), np.float32)}), (1,))
