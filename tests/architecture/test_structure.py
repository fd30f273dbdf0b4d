"""The limits of size and the rules of who may import whom, held against the code as it stands."""

import ast
import textwrap

import pytest

from tests.architecture.structure import (
    HOUSES,
    ROOT,
    Tree,
    complexity,
    floors,
    is_dense,
)

MAX_MODULES_IN_A_FOLDER = 15
MAX_FUNCTION_LINES, USUAL_FUNCTION_LINES, USUAL_SHARE = 50, 25, 0.9


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree(ROOT)


def test_a_folder_has_at_most_15_modules(tree: Tree) -> None:
    sizes = tree.folder_sizes()

    assert {name: size for name, size in sizes.items() if size > MAX_MODULES_IN_A_FOLDER} == {}


def test_modules_do_not_import_each_other_in_a_circle(tree: Tree) -> None:
    assert tree.circles() == []


@pytest.mark.parametrize("house", HOUSES)
def test_rooms_do_not_import_each_other_in_a_circle(tree: Tree, house: str) -> None:
    rooms = tree.rooms(house)

    mutual = {
        (room, other) for room, found in rooms.items() for other in found if room in rooms[other]
    }
    assert mutual == set()


def test_no_function_is_longer_than_50_lines(tree: Tree) -> None:
    long = {item.name: item.lines for item in tree.functions() if item.lines > MAX_FUNCTION_LINES}

    assert long == {}


def test_nine_of_ten_functions_have_at_most_25_lines(tree: Tree) -> None:
    lengths = [item.lines for item in tree.functions()]

    short = sum(lines <= USUAL_FUNCTION_LINES for lines in lengths)
    assert short / len(lengths) >= USUAL_SHARE


def test_short_functions_are_simple(tree: Tree) -> None:
    assert {item.name: item.complexity for item in tree.functions() if is_dense(item)} == {}


def test_no_line_is_longer_than_100_columns(tree: Tree) -> None:
    assert tree.long_lines() == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return 1", 1),
        ("return 1 if a else 2", 2),
        ("return a and b or c", 3),
        ("return [x for x in a if x if not x]", 3),
        ("for x in a:\n    if x:\n        return x", 3),
        ("try:\n    a()\nexcept A:\n    b()\nexcept B:\n    c()", 3),
        ("match a:\n    case 1:\n        b()\n    case _:\n        c()", 3),
    ],
)
def test_complexity_counts_each_decision(body: str, expected: int) -> None:
    function = ast.parse("def f(a):\n" + textwrap.indent(body, "    "))

    assert complexity(function) == expected


def test_floors_are_counted_along_the_longest_way_down() -> None:
    assert floors({"a": ["b", "c"], "b": ["c"], "c": []}) == 3
