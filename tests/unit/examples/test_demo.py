"""The demo's checks: what it must refuse."""

import signal
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from examples.digits import demo
from onnxlift.config import Config
from onnxlift_runtime.manifest import FileEntry, Manifest, Source
from tests.support import builders

LABELS = np.arange(1_000) % 10
CONFIG = Config.model_validate(
    {
        "service": "tiny",
        "models": {
            "digits": {"source": "d.onnx", "quality": {"samples": "h.npz", "max_drop": 0.005}}
        },
    }
)


def _manifest(size_bytes: int) -> Manifest:
    files = (FileEntry("model.onnx", "0" * 64, size_bytes),)
    return builders.manifest(name="digits", files=files, source=Source("0" * 64, 1_000, ()))


def _held_out() -> demo.HeldOut:
    return demo.HeldOut(np.zeros((1_000, 1, 8, 8), np.float32), LABELS, LABELS)


def _result(wrong: int) -> demo.RouteResult:
    classes = LABELS.copy()
    classes[:wrong] = (classes[:wrong] + 1) % 10
    return demo.RouteResult("route", classes, 1.0)


def test_answers_equal_to_the_fp32_models_pass() -> None:
    assert demo._problems(CONFIG, _manifest(350), _held_out(), [_result(0)]) == []


@pytest.mark.parametrize(
    ("size_bytes", "wrong", "problems"),
    [
        (351, 0, ["the artifact is 0.35 ×"]),
        (300, 1, ["another class"]),
        (300, 6, ["accuracy 0.9940", "another class"]),
    ],
)
def test_every_broken_promise_is_told(size_bytes: int, wrong: int, problems: list[str]) -> None:
    found = demo._problems(CONFIG, _manifest(size_bytes), _held_out(), [_result(0), _result(wrong)])

    assert len(found) == len(problems)
    assert all(part in told for part, told in zip(problems, found, strict=True))


def test_a_step_that_fails_names_its_command_and_exit_code() -> None:
    with pytest.raises(demo.StepFailed, match="ended with exit code 3"):
        demo._step("fails", sys.executable, "-c", "raise SystemExit(3)")


def test_leaving_a_step_early_ends_all_that_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    child = (
        f"import os, pathlib, time; pathlib.Path({str(note)!r}).write_text(f'{{os.getpid()}} "
        f"'); time.sleep(60)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"

    with demo._process_group((sys.executable, "-c", parent)) as process:
        while not (note.exists() and note.read_text().endswith(" ")):
            assert process.poll() is None
        started = psutil.Process(int(note.read_text()))

    assert process.returncode == -signal.SIGTERM
    assert psutil.wait_procs([started], timeout=60)[1] == []
