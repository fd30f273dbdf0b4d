"""Measures the structure of the code: ``python -m tests.architecture.structure [ROOT]``.

Prints the figures of the tree at ROOT (this project without one), so that two states of the code
can be compared by the same script. ``test_structure.py`` holds the limits.
"""

import ast
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Each root package with the folder it is imported from.
PACKAGES: Mapping[str, str] = {
    "onnxlift": "",
    "onnxlift_runtime": "layers/runtime/python",
    "handlers": "",
    "gpu_fallback": "",
    "infra": "",
    "benchmarks": "",
    "examples": "",
}
HOUSES = ("onnxlift.compress", "onnxlift_runtime")
LINE_LENGTH = 100
# A line may pass the limit by what tools read at its end, and where it is one word: an address or
# a class of the CDK. ruff counts the same way.
PRAGMA = re.compile(r"\s+# (noqa|type:).*$")
ONE_WORD = re.compile(r"\s*\S+")
SMALL_FUNCTION_LINES = 10

Function = ast.FunctionDef | ast.AsyncFunctionDef
_BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.match_case,
)


@dataclass(frozen=True)
class Measured:
    """A function: where it is, how many lines it has, and its cyclomatic complexity."""

    name: str
    lines: int
    complexity: int


class Tree:
    """The modules of a checkout, read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules = dict(_modules(root))

    @cached_property
    def sources(self) -> Mapping[str, str]:
        """The text of each module, by its dotted name."""
        return {name: path.read_text("utf-8") for name, path in self.modules.items()}

    @cached_property
    def syntax(self) -> Mapping[str, ast.Module]:
        """The parsed form of each module."""
        return {name: ast.parse(text) for name, text in self.sources.items()}

    @cached_property
    def imports(self) -> Mapping[str, frozenset[str]]:
        """The modules that each module imports, of ours alone; those for type checkers count."""
        return {name: frozenset(self._imported(name)) - {name} for name in self.modules}

    def folder_sizes(self) -> dict[str, int]:
        """How many modules lie in each folder, ``__init__`` and ``__main__`` left out."""
        counted = (path for path in self.modules.values() if not path.stem.startswith("__"))
        return dict(Counter(str(path.parent.relative_to(self.root)) for path in counted))

    def circles(self) -> list[list[str]]:
        """Groups of modules that import each other, directly or by way of others."""
        return [sorted(group) for group in _components(self.imports) if len(group) > 1]

    def rooms(self, house: str) -> Mapping[str, frozenset[str]]:
        """The parts directly below a package, each with the parts that it imports from."""
        arrows: defaultdict[str, set[str]] = defaultdict(set)
        for module, targets in self.imports.items():
            if (room := _room(module, house)) is None:
                continue
            found = {_room(target, house) for target in targets}
            arrows[room] |= {other for other in found if other is not None and other != room}
        return {room: frozenset(targets) for room, targets in arrows.items()}

    def functions(self) -> list[Measured]:
        """Every function and method."""
        return [
            Measured(f"{name}:{node.name}", _length(node), complexity(node))
            for name, tree in self.syntax.items()
            for node in _functions(tree)
        ]

    def private_functions(self) -> dict[str, int]:
        """Private module-level functions and methods with how often their module refers to them."""
        found = {}
        for name, tree in self.syntax.items():
            used = Counter(_references(tree))
            for node in _functions(tree):
                if node.name.startswith("_") and not node.name.startswith("__"):
                    found[f"{name}:{node.name}"] = used[node.name]
        return found

    def long_lines(self) -> list[str]:
        """Each line beyond the limit, as ``module:number``."""
        return [
            f"{name}:{number}"
            for name, text in self.sources.items()
            for number, line in enumerate(text.splitlines(), 1)
            if _is_too_long(PRAGMA.sub("", line))
        ]

    def comment_share(self) -> float:
        """The share of lines that are comments and nothing else."""
        lines = [line.strip() for text in self.sources.values() for line in text.splitlines()]
        return sum(line.startswith("#") for line in lines) / len(lines)

    def _imported(self, name: str) -> Iterator[str]:
        for node in ast.walk(self.syntax[name]):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name in self.modules)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    target = full if full in self.modules else node.module
                    if target in self.modules:
                        yield target


def complexity(node: ast.AST) -> int:
    """Cyclomatic complexity after McCabe (1976): one more than the decisions.

    A boolean operator is a decision, and so is the condition of a comprehension; its loop is not.
    """
    total = 1
    for child in ast.walk(node):
        if isinstance(child, _BRANCHES):
            total += 1
        if isinstance(child, ast.comprehension):
            total += len(child.ifs)
        if isinstance(child, ast.BoolOp):
            total += len(child.values) - 1
    return total


def floors(arrows: Mapping[str, Iterable[str]]) -> int:
    """The length of the longest way down, in rooms; rooms of one circle stand on one floor."""
    depth: dict[str, int] = {}

    def walk(room: str, above: frozenset[str]) -> int:
        if room not in depth:
            below = [
                walk(item, above | {room}) for item in arrows.get(room, ()) if item not in above
            ]
            depth[room] = 1 + max(below, default=0)
        return depth[room]

    return max((walk(room, frozenset()) for room in arrows), default=0)


def is_dense(item: Measured) -> bool:
    """Whether a function decides more than its few lines let a reader see at once."""
    return item.lines <= SMALL_FUNCTION_LINES and item.complexity > 5


def figures(tree: Tree) -> dict[str, Any]:
    """What a reader compares before and after a change of structure."""
    functions = tree.functions()
    private = tree.private_functions()
    lengths = [item.lines for item in functions]
    complexities = [item.complexity for item in functions]
    dense = [item for item in functions if is_dense(item)]
    rooms = {house: tree.rooms(house) for house in HOUSES}
    return {
        "modules": len(tree.modules),
        "lines": sum(len(text.splitlines()) for text in tree.sources.values()),
        "largest folders": Counter(tree.folder_sizes()).most_common(5),
        "import circles": len(tree.circles()),
        **{
            f"{house}: rooms, floors, arrows": (
                len(found),
                floors(found),
                sum(len(targets) for targets in found.values()),
            )
            for house, found in rooms.items()
        },
        "function lines: median, p90, max": _spread(lengths),
        "complexity: median, p90, max": _spread(complexities),
        "functions of 10 lines or less, complexity above 5": len(dense),
        "private functions": len(private),
        "private functions referenced once, % of all functions": round(
            100 * sum(count == 1 for count in private.values()) / len(functions), 1
        ),
        "comment lines, %": round(100 * tree.comment_share(), 2),
        "lines above 100 columns": len(tree.long_lines()),
    }


def _modules(root: Path) -> Iterator[tuple[str, Path]]:
    for package, folder in PACKAGES.items():
        base = root / folder
        for path in sorted((base / package).rglob("*.py")):
            name = ".".join(path.relative_to(base).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def _room(module: str, house: str) -> str | None:
    inside = module.removeprefix(f"{house}.")
    return None if inside == module else inside.partition(".")[0]


def _functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _is_too_long(line: str) -> bool:
    return len(line) > LINE_LENGTH and not ONE_WORD.fullmatch(line)


def _length(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _references(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def _spread(values: list[int]) -> tuple[float, int, int]:
    return statistics.median(values), sorted(values)[int(0.9 * len(values))], max(values)


def _components(graph: Mapping[str, Iterable[str]]) -> list[set[str]]:
    """Strongly connected components, after Tarjan (1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for target in graph.get(node, ()):
            if target not in order:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], order[target])
        if low[node] == order[node]:
            place = stack.index(node)
            found.append(set(stack[place:]))
            del stack[place:]

    for node in graph:
        if node not in order:
            visit(node)
    return found


if __name__ == "__main__":
    for key, value in figures(Tree(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)).items():
        sys.stdout.write(f"{key}: {value}\n")
