"""What the pages tell a reader to type must exist."""

import importlib
import re
from pathlib import Path

import click
import pytest

from onnxlift import cli
from onnxlift.client import read_input
from onnxlift.config import load_config
from onnxlift_runtime.manifest import TensorSpec

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
FIRST_SCREEN = 25


def _code(page: Path) -> str:
    """Code blocks and inline code of a page, one piece on each line."""
    text = page.read_text("utf-8")
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return "\n".join([*blocks, *inline])


def _anchors(page: Path) -> set[str]:
    """What a link to each heading of a page ends in."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _options(command: str) -> set[str]:
    """Every spelling of every option of a command, `--help` included."""
    found: click.Command = importlib.import_module(f"onnxlift.cli.{command}").command
    options = [parameter for parameter in found.params if isinstance(parameter, click.Option)]
    return {name for option in options for name in (*option.opts, *option.secondary_opts)} | {
        "--help",
        "-h",
    }


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def _commands(page: Path) -> list[tuple[str, list[str]]]:
    """Each `onnxlift COMMAND …` shown on a page, with the options it is given."""
    lines = re.findall(r"(?<![\w./-])(?:\.venv/bin/)?onnxlift +([a-z]+)\b([^\n#|]*)", _code(page))
    return [(name, re.findall(r"(?<!\S)(--?[a-z][\w-]*)", rest)) for name, rest in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_on_a_page_exists(page: Path) -> None:
    named = set(re.findall(r"(?:^|[$&] *)make +([a-z][a-z0-9-]*)", _code(page), re.MULTILINE))

    assert named - _targets() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_on_a_page_exists(page: Path) -> None:
    commands = _commands(page)

    assert {name for name, _ in commands} - set(cli.COMMANDS) == set()
    assert [
        f"{name} {option}"
        for name, options in commands
        for option in options
        if option not in _options(name)
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_on_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))

    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_heading_names_one(page: Path) -> None:
    links = re.findall(r"\]\(([^):#]*)#([^)]+)\)", page.read_text("utf-8"))

    assert [
        anchor
        for path, anchor in links
        if anchor not in _anchors(page.parent / path if path else page)
    ] == []


def test_every_option_of_serve_and_invoke_is_described() -> None:
    described = set(re.findall(r"--[a-z][a-z-]*", (ROOT / "docs/serving.md").read_text("utf-8")))

    wanted = {
        option
        for name in ("serve", "invoke")
        for option in _options(name)
        if option.startswith("--")
    }
    assert wanted - described - {"--help", "--input", "--binary"} == set()


def test_the_first_screen_of_the_readme_runs_the_main_job() -> None:
    first = "\n".join((ROOT / "README.md").read_text("utf-8").splitlines()[:FIRST_SCREEN])

    for command in ("git clone", "make demo", "onnxlift serve", "onnxlift invoke", "curl"):
        assert command in first


def test_the_input_that_the_readme_shows_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shown = re.search(r"-i 'pixels=(@[^']+)'", (ROOT / "README.md").read_text("utf-8"))
    assert shown is not None

    array = read_input(shown[1], TensorSpec("pixels", "FP32", (-1, 1, 8, 8)))

    assert array.shape == (1, 1, 8, 8)


def test_the_model_that_the_readme_names_is_configured() -> None:
    assert "digits" in load_config(ROOT / "onnxlift.toml").models


def test_continuous_integration_calls_only_what_a_person_can_call() -> None:
    called = re.findall(
        r"^ *(?:if )?make +([a-z-]+)", (ROOT / ".ci/run").read_text("utf-8"), re.MULTILINE
    )

    assert called == ["check", "test", "demo", "stand-ins", "image-test"]
    assert set(called) <= _targets()
