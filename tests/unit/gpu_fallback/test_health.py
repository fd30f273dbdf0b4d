"""The health file and those who look at it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpu_fallback.health import STALE_AFTER_S, is_healthy, touch
from gpu_fallback.loop import Loop
from tests.unit.gpu_fallback.conftest import eventually


def test_a_file_that_is_touched_is_healthy_for_a_while(tmp_path: Path) -> None:
    path = tmp_path / "healthy"

    touch(path)

    now_s = path.stat().st_mtime
    assert is_healthy(path, now_s + STALE_AFTER_S - 1)
    assert not is_healthy(path, now_s + STALE_AFTER_S)


@pytest.mark.parametrize(("exists", "status"), [(True, 0), (False, 1)])
def test_the_command_exits_as_the_container_is(tmp_path: Path, exists: bool, status: int) -> None:
    path = tmp_path / "healthy"
    if exists:
        touch(path)

    environ = {**os.environ, "ONNXLIFT_HEALTH_FILE": str(path)}
    done = subprocess.run(
        [sys.executable, "-m", "gpu_fallback.health"], env=environ, capture_output=True, text=True
    )

    assert done.returncode == status
    assert ("did not touch" in done.stderr) is not exists


def test_a_thread_whose_step_takes_too_long_is_stuck() -> None:
    now_s = [0.0]
    loop = Loop("test", lambda: time.sleep(0.001), 10, lambda: now_s[0])
    assert not loop.stuck

    now_s[0] = 11.0

    assert loop.stuck


def test_a_step_that_raises_breaks_its_loop_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise LookupError("nobody thought of this")

    loop = Loop("test", fail, 10)
    loop.start()
    deadline = time.monotonic() + 60
    while loop.running and time.monotonic() < deadline:
        time.sleep(0.001)

    assert loop.broken
    assert loop.stuck
    assert "nobody thought of this" in capsys.readouterr().out


def test_whatever_ends_a_thread_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    loop = Loop("test", sys.exit, 10)

    loop.start()

    assert eventually(lambda: loop.broken)
    assert "SystemExit" in capsys.readouterr().out
