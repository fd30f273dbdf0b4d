"""How the process of a worker ends."""

import os
import sys
from pathlib import Path

import pytest

from gpu_fallback import __main__ as program
from gpu_fallback.models.devices import Hardware


class Broken:
    """A worker whose watching thread breaks."""

    def run(self) -> int:
        raise OSError("No space left on device")


def test_a_worker_that_breaks_says_so_in_one_line_and_leaves_with_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ONNXLIFT_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("ONNXLIFT_ALLOW_CPU", "true")
    monkeypatch.setattr("gpu_fallback.models.loading.look", lambda: Hardware("there is none"))
    monkeypatch.setattr(program, "open_worker", lambda _environ, _models: Broken())
    monkeypatch.setattr(os, "_exit", sys.exit)
    monkeypatch.setattr("signal.signal", lambda _number, _act: None)

    with pytest.raises(SystemExit) as ended:
        program.main()

    assert ended.value.code == 1
    assert "No space left on device" in capsys.readouterr().out.splitlines()[-1]
