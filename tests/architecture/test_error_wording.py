"""The wording of every error, in one file that a reviewer reads in the diff."""

import ast
import inspect
from pathlib import Path

import pytest

from onnxlift_runtime import errors
from tests.support.errors import named
from tests.support.wording import CHOSEN, collect, templates

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "errors.txt"
PACKAGES = (
    ROOT / "gpu_fallback",
    ROOT / "handlers",
    ROOT / "infra",
    ROOT / "layers" / "runtime" / "python" / "onnxlift_runtime",
    ROOT / "onnxlift",
)
CLASSES = {
    name
    for name, found in vars(errors).items()
    if inspect.isclass(found) and issubclass(found, errors.OnnxliftError)
}
UPDATE = (
    "`pytest tests/architecture/test_error_wording.py --update-golden` rewrites the file; "
    "read the wording in the diff"
)


def _modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(package.parent).with_suffix("").parts): path
        for package in PACKAGES
        for path in package.rglob("*.py")
    }


def test_the_wording_of_every_error_is_the_reviewed_one(request: pytest.FixtureRequest) -> None:
    wording = collect(_modules(), CLASSES)

    if request.config.getoption("--update-golden"):
        GOLDEN.write_text(wording, "utf-8")

    assert wording.splitlines() == GOLDEN.read_text("utf-8").splitlines(), UPDATE


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("NotFound('no a')", [("NotFound", "no a")]),
        ("raise errors.NotFound(f'no {name!r} ' + 'here')", [("NotFound", "no {…} here")]),
        ("W = 'no {a}'\nNotFound(W.format(a=1))", [("NotFound", "no {a}")]),
        ("NotFound('a' if b else f'{c}')", [("NotFound", "a | {…}")]),
        (
            "class NotFound:\n  def __init__(self, a):\n    super().__init__(f'no {a}')",
            [("NotFound", "no {…}")],
        ),
        ("NotFound(why)", []),
        ("NotFound(message='a')", [("NotFound", "a")]),
        ("raise ValueError('a')", [("ValueError", "a")]),
        ("raise kind(path, f'{a} b')", [(CHOSEN, "{…} b")]),
        ("ValueError('a')\nraise\nraise ValueError(error)", []),
    ],
)
def test_a_template_has_a_hole_for_what_a_run_fills_in(
    source: str, found: list[tuple[str, str]]
) -> None:
    assert list(templates(ast.parse(source), {"NotFound"})) == found


@pytest.mark.parametrize(
    ("item", "message", "found"),
    [
        (3, "at most 3 rows", True),
        (3, "at most 300 rows", False),
        ("'x'", "input 'x' is missing", True),
        ("[1,3]", "shape [1,3], the model", True),
        ("m", "the model", False),
    ],
)
def test_an_item_of_data_counts_as_a_whole_word(item: object, message: str, found: bool) -> None:
    assert named(item, message) is found
