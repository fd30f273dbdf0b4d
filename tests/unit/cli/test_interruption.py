"""``onnxlift compress`` and the signals that end it, and the one that does not under ``nohup``."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onnxlift_runtime.manifest import read_manifest
from tests.support.surroundings import ignoring

WITHIN_S = 120


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_cleans_up_and_exits_130(config: Path, number: signal.Signals) -> None:
    process, scratch = _start(config)
    _await_a_trial(config, process)

    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=WITHIN_S)

    assert (process.returncode, stdout, stderr) == (130, "", "stopped\n")
    assert not list((config.parent / ".onnxlift").glob("**/tmp"))
    assert list(scratch.iterdir()) == []
    assert not (config.parent / "artifacts").exists()


def test_the_end_of_the_terminal_does_not_end_a_compression_under_nohup(config: Path) -> None:
    with ignoring(signal.SIGHUP):
        process, _ = _start(config, "conv", "--recipe", "int8-dynamic")
    _await_a_trial(config, process)

    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=WITHIN_S)

    assert process.returncode == 0
    assert read_manifest(config.parent / "artifacts/conv/1").recipe == "int8-dynamic"


def _start(config: Path, *arguments: str) -> tuple["subprocess.Popen[str]", Path]:
    """``compress`` in a process of its own, and the folder of its temporary files."""
    scratch = config.parent / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "onnxlift", "compress", "-c", str(config), *arguments],
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process, scratch


def _await_a_trial(config: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + WITHIN_S
    while not any((config.parent / ".onnxlift").glob("**/trial.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
