"""A search that is killed goes on where it was, to the same answer."""

import json
import subprocess
import time
from pathlib import Path

import numpy as np

from onnxlift_runtime.manifest import read_manifest
from tests.support import builders
from tests.support.compress.command import ONNXLIFT

_COMMAND = [*ONNXLIFT, "compress", "--json", "-c"]


def _project(folder: Path) -> Path:
    folder.mkdir()
    random = np.random.default_rng(1)
    (folder / "m.onnx").write_bytes(builders.convolution().SerializeToString())
    for role in ("calibration", "heldout"):
        np.savez(
            folder / f"{role}.npz", pixels=random.normal(size=(60, 1, 8, 8)).astype(np.float32)
        )
    path = folder / "onnxlift.toml"
    path.write_text(
        'service = "s"\n[models.m]\nsource = "m.onnx"\nmax_slowdown = 100\n'
        'calibration.samples = "calibration.npz"\n'
        'quality = { samples = "heldout.npz", metric = "cosine", max_drop = 0.05 }\n'
    )
    return path


def _results(folder: Path) -> list[Path]:
    """What has been measured so far; folders come and go while the search runs."""
    try:
        return list((folder / ".onnxlift").glob("**/candidates/int8-*/trial.json"))
    except FileNotFoundError:
        return []


def test_a_killed_search_resumes_to_the_same_answer(tmp_path: Path) -> None:
    straight, killed = _project(tmp_path / "straight"), _project(tmp_path / "killed")
    subprocess.run([*_COMMAND, str(straight)], check=True, capture_output=True)
    process = subprocess.Popen(
        [*_COMMAND, str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 180
    while not _results(killed.parent) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert not (killed.parent / "artifacts").exists()

    done = subprocess.run([*_COMMAND, str(killed)], check=True, capture_output=True, text=True)

    rows = json.loads(done.stdout)["models"][0]["candidates"]
    assert any(row["cached"] for row in rows if row["recipe"].startswith("int8"))
    first, second = (read_manifest(path.parent / "artifacts/m/1") for path in (straight, killed))
    assert (first.recipe, first.files) == (second.recipe, second.files)
