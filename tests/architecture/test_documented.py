"""Errors and settings against the pages that describe them."""

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

import onnxlift_runtime.errors as module
from onnxlift_runtime.errors import ConfigInvalid, MethodNotAllowed, OnnxliftError, ServiceRefused
from onnxlift_runtime.settings import PREFIX, Limits, Settings, WorkerSettings

DOCS = Path(__file__).resolve().parents[2] / "docs"
CLASSES = {
    name: found
    for name, found in vars(module).items()
    if inspect.isclass(found)
    and issubclass(found, OnnxliftError)
    and found.__module__ == module.__name__
}


def _drawn() -> dict[str, str]:
    """Each class in the drawing with its parent: a level of the tree is four columns deep."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (module.__doc__ or "").splitlines():
        if match := re.fullmatch(r" {4}([│├└─ ]*)([A-Z]\w+)", line):
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            parents[match[2]] = path[depth - 1] if depth else ""
    return parents


def _rows(page: str) -> dict[str, list[str]]:
    """The cells of every table row of a page that starts with a word in backticks."""
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", (DOCS / page).read_text("utf-8"), re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in rows}


def _exit_code(error: type[OnnxliftError]) -> str:
    return "2" if issubclass(error, ConfigInvalid) else "1"


def test_the_drawn_tree_is_the_tree_of_classes() -> None:
    tree = {
        name: found.__base__.__name__ if found is not OnnxliftError else ""
        for name, found in CLASSES.items()
        if found.__base__
    }

    assert _drawn() == tree


def test_every_error_has_its_row_with_status_retry_and_exit_code() -> None:
    documented = {name: cells[:3] for name, cells in _rows("errors.md").items()}

    expected = {
        name: [str(found.status), "yes" if found.retryable else "no", _exit_code(found)]
        for name, found in CLASSES.items()
    }
    assert documented == expected


@pytest.mark.parametrize("kind", [found for found in CLASSES.values() if found.retryable])
def test_an_error_that_may_pass_says_when_to_come_back(kind: type[OnnxliftError]) -> None:
    assert int(kind("why").headers["Retry-After"]) > 0


def test_every_error_says_in_one_sentence_when_it_happens() -> None:
    documented = {name: cells[3] for name, cells in _rows("errors.md").items()}

    assert documented == {
        name: " ".join((found.__doc__ or "").split()) for name, found in CLASSES.items()
    }


def test_errors_with_more_than_a_message_still_tell_one() -> None:
    assert (
        str(MethodNotAllowed("PUT", ("GET", "POST")))
        == "method PUT is not allowed here; allowed: GET, POST"
    )
    assert str(ServiceRefused(404, "no such model")) == "the service answered 404: no such model"


@pytest.mark.parametrize(
    ("page", "settings"), [("serving.md", Settings()), ("gpu.md", WorkerSettings())]
)
def test_every_setting_is_documented_with_its_default(
    page: str, settings: Settings | WorkerSettings
) -> None:
    documented = {
        name: cells[0].strip("`") for name, cells in _rows(page).items() if name.startswith(PREFIX)
    }

    assert documented == settings.to_env()


def test_every_limit_is_documented_with_its_value() -> None:
    documented = {
        name: cells[0] for name, cells in _rows("serving.md").items() if name.startswith("max_")
    }

    assert documented == {item.name: f"{getattr(Limits(), item.name):,}" for item in fields(Limits)}
