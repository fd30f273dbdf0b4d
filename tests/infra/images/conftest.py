"""A machine with no program but those that a test puts there."""

import shutil
from pathlib import Path

import pytest

from infra.images.engine import CHOSEN, CONTAINERS_CONF


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of the path; what is put there is on this machine."""
    shell = shutil.which("sh")
    assert shell is not None
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in (CONTAINERS_CONF, CHOSEN):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "sh").symlink_to(shell)
    return tmp_path


def install(machine: Path, program: str, script: str) -> None:
    """Put a program there, which is a script of the shell."""
    path = machine / program
    path.write_text(f"#!{machine}/sh\n{script}\n")
    path.chmod(0o755)
