"""Where the stand-ins' packages come from."""

from pathlib import Path

import pytest

from infra.images.standin.system import mirror
from onnxlift_runtime.errors import ToolMissing
from tests.support.errors import raises


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "sources.list",
            "#deb http://old.example/debian x main\ndeb [arch=i386] http://one.example/debian/ x "
            "main\n",
        ),
        (
            "sources.list.d/debian.sources",
            "Types: deb\nURIs: http://one.example/debian/\nSuites: x\n",
        ),
    ],
)
def test_the_mirror_is_the_one_that_apt_reads(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "a.list").write_text("deb http://one.example/other x main\n")
    (tmp_path / name).write_text(text)

    assert mirror(tmp_path) == "http://one.example/debian/"


def test_a_machine_that_is_no_debian_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://one.example/ubuntu x main\n")

    with raises(ToolMissing, tmp_path):
        mirror(tmp_path)
