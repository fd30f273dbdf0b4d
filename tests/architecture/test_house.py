"""The house's rules that a reader would otherwise have to remember."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("layers", "handlers", "gpu_fallback", "infra", "onnxlift", "examples", "benchmarks")
MAX_FILE_LINES = 300
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc", "shared"}
TEXT = {".py", ".md", ".toml", ".txt", ".in", ".json", ".yml", ".yaml", ".sh", ""}
# What belongs to one machine or one build of it, and to nobody who reads the project.
FOREIGN = re.compile(
    r"(?<![\w.$}/])/(?:root|home/\w+|Users/\w+)/|--(?:extra-)?index-url|host\.docker\.internal"
)


def _tracked(*folders: str) -> list[Path]:
    """Files under version control; the whole tree where git is not there."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--", *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a git checkout, so that built files cannot be told from sources")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def _sources() -> list[Path]:
    return [path for path in _tracked(*SOURCES) if path.suffix == ".py"]


def test_no_source_file_is_longer_than_300_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in _sources()
        if (lines := len(path.read_text().splitlines())) > MAX_FILE_LINES
    }

    assert long == {}


def test_modules_are_named_after_what_they_are() -> None:
    names = {part for path in _sources() for part in path.relative_to(ROOT).with_suffix("").parts}

    assert names & BANNED_NAMES == set()


def test_every_module_and_package_says_in_its_docstring_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in _sources()
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]

    assert silent == []


def test_nothing_in_the_project_belongs_to_one_machine() -> None:
    texts = [path for path in _tracked() if path.suffix in TEXT and path != Path(__file__)]

    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in texts
        if (match := FOREIGN.search(path.read_text("utf-8", errors="ignore")))
    ]

    assert found == []
