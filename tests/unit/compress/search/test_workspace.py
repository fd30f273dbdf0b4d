"""A search's folder: one process at a time, kept until the key changes, and never somebody
else's.
"""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from onnxlift.compress.model.samples import Samples
from onnxlift.compress.search.workspace import open_workspace, samples_digest, search_key

_HOLD = """
import sys
from pathlib import Path
from onnxlift.compress.search.workspace import open_workspace
with open_workspace(Path(sys.argv[1]), "m", sys.argv[2]) as workspace:
    (workspace.folder / "mine").touch()
    print(workspace.folder, flush=True)
    sys.stdin.read()
"""


def _hold(cache: Path, key: str) -> tuple[subprocess.Popen[str], Path]:
    """Another process that works in the workspace until its stdin closes, and the folder it works
    in.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(cache), key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_the_same_key_leads_to_the_same_folder(tmp_path: Path) -> None:
    with open_workspace(tmp_path, "m", "a") as first:
        (first.folder / "kept").touch()

    with open_workspace(tmp_path, "m", "a") as second:
        assert (second.folder / "kept").exists()


def test_older_keys_go_when_all_went_well_and_stay_when_not(tmp_path: Path) -> None:
    with open_workspace(tmp_path, "m", "a") as old, open_workspace(tmp_path, "n", "a") as other:
        pass
    with pytest.raises(KeyboardInterrupt), open_workspace(tmp_path, "m", "b"):
        raise KeyboardInterrupt
    assert old.folder.exists()

    with open_workspace(tmp_path, "m", "b"):
        pass

    assert not old.folder.exists()
    assert other.folder.exists()


def test_a_second_process_works_elsewhere_and_leaves_nothing(tmp_path: Path) -> None:
    process, theirs = _hold(tmp_path, "a")

    with open_workspace(tmp_path, "m", "b") as ours:
        (ours.folder / "scratch").touch()
        assert tmp_path not in ours.folder.parents

    process.communicate("")
    assert process.returncode == 0
    assert not ours.folder.exists()
    assert (theirs / "mine").exists()


def test_another_model_is_not_waited_for(tmp_path: Path) -> None:
    process, _ = _hold(tmp_path, "a")

    with open_workspace(tmp_path, "n", "a") as ours:
        assert tmp_path in ours.folder.parents

    process.communicate("")


def test_a_killed_process_leaves_its_folder_to_the_next(tmp_path: Path) -> None:
    process, theirs = _hold(tmp_path, "a")
    process.send_signal(signal.SIGKILL)
    process.communicate()

    with open_workspace(tmp_path, "m", "a") as ours:
        assert ours.folder == theirs
        assert (ours.folder / "mine").exists()


def test_two_processes_that_start_together_do_not_share_a_folder(tmp_path: Path) -> None:
    held = [_hold(tmp_path, "a") for _ in range(2)]

    folders = {folder for _, folder in held}

    for process, _ in held:
        process.communicate("")
    assert len(folders) == 2
    assert sum(folder.exists() for folder in folders) == 1


def test_a_key_is_of_everything_it_is_given() -> None:
    first, second = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    keys = {
        search_key("a", 1),
        search_key("a", 2),
        search_key("a1"),
        *(
            search_key(samples_digest(samples))
            for samples in (
                None,
                Samples({"x": first}),
                Samples({"x": second}),
                Samples({"y": first}),
                Samples({"x": first}, np.array([0, 1])),
            )
        ),
    }

    assert len(keys) == 8
    assert search_key("a", 1) in keys
