"""onnxruntime reports nothing to its maker, however it comes to be loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "module",
    ["handlers.predict", "onnxlift_runtime.dataplane.session", "onnxlift.compress.pipeline"],
)
def test_loading_onnxruntime_starts_no_reports(tmp_path: Path, module: str) -> None:
    # onnxruntime's reporter leaves the file ".ses" in the folder for temporary files as soon as it
    # starts.
    environment = {
        name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"
    }
    program = f"import {module}, onnxruntime, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "1\n"
    assert list(tmp_path.iterdir()) == []


def test_a_user_s_own_choice_is_kept() -> None:
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    program = "import onnxlift_runtime, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"

    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout == "0\n"
