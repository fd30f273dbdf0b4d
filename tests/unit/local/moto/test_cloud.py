"""The folder that a local run keeps its jobs in: one service at a time, and a disk that refuses is
survived.
"""

import fcntl
from pathlib import Path

import pytest

from onnxlift.local.moto.cloud import keep, open_cloud
from onnxlift_runtime.errors import ConfigInvalid
from tests.support.errors import raises


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    path = tmp_path / "onnxlift.toml"
    path.write_text(
        'service = "tiny"\n[models.m]\nsource = "m.onnx"\nquality = { samples = "s.npz" }\n'
    )
    return path


def test_a_folder_that_another_service_keeps_its_jobs_in_is_refused(config_path: Path) -> None:
    folder = config_path.parent / "kept"
    folder.mkdir()

    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with (
            raises(ConfigInvalid, folder, "--persist"),
            open_cloud(config_path, folder),
        ):
            pass


def test_a_folder_that_cannot_be_written_is_told_at_the_start(config_path: Path) -> None:
    with pytest.raises(NotADirectoryError), open_cloud(config_path, config_path / "kept"):
        pass


def test_jobs_that_cannot_be_kept_end_nothing(
    config_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep("tiny", "http://127.0.0.1:1", config_path / "kept")

    assert caplog.messages == [f"jobs cannot be kept in {config_path}/kept: Not a directory"]
