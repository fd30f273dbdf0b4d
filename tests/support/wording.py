"""Read the wording of every error out of the source, without running it.

A template is a message in which ``{…}`` stands for each interpolated value. A part that another
function words is such a value too.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

# A class that a variable holds, or a helper that builds the error.
CHOSEN = "chosen at run time"
HOLE = "{…}"


def collect(paths: Mapping[str, Path], classes: set[str]) -> str:
    """List the errors of all modules by class, then by module, with one template a line.

    ``classes`` are the names of errors that count wherever they are built; any other error counts
    where it is raised with a message.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for module, path in paths.items():
        for name, template in templates(ast.parse(path.read_text("utf-8")), classes):
            found[name].add(f"{module}: {escape(template)}")
    return "\n".join("\n".join([f"[{name}]", *sorted(found[name]), ""]) for name in sorted(found))


def templates(tree: ast.Module, classes: set[str]) -> Iterator[tuple[str, str]]:
    """The class and the template of every error that ``tree`` builds with words of its own."""
    constants = assigned(tree)
    raised = {id(node.exc) for node in ast.walk(tree) if isinstance(node, ast.Raise)}
    own = {id(call): name for name, call in own_messages(tree)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or (message := worded(node, constants)) is None:
            continue
        name = own.get(id(node)) or called(node.func)
        if name in classes:
            yield name, message
        elif id(node) in raised:
            yield name if name[:1].isupper() else CHOSEN, message


def own_messages(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Each class with what it passes to ``super().__init__``: a message that it writes itself."""
    for found in ast.walk(tree):
        if isinstance(found, ast.ClassDef):
            for node in ast.walk(found):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__":
                    yield found.name, node


def worded(node: ast.Call, constants: Mapping[str, ast.expr]) -> str | None:
    """The last argument with words in it as a template; None where no argument has any."""
    arguments = [*node.args, *(item.value for item in node.keywords if item.arg == "message")]
    found = [template(item, constants) for item in arguments]
    return next((item for item in reversed(found) if item != HOLE), None)


def called(node: ast.expr) -> str:
    """The name of what is called: ``NotFound`` for ``errors.NotFound(…)``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def assigned(tree: ast.Module) -> dict[str, ast.expr]:
    """The module's constants by name."""
    plain = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    typed = {
        node.target.id: node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value
    }
    return {**plain, **typed}


def template(node: ast.expr, constants: Mapping[str, ast.expr]) -> str:
    """The text of an expression, with ``{…}`` for what only a run can tell."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(template(part, constants) for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return template(left, constants) + template(right, constants)
        case ast.IfExp(body=body, orelse=other):
            return f"{template(body, constants)} | {template(other, constants)}"
        case ast.Call(func=ast.Attribute(attr="format", value=ast.Name(id=name))):
            return template(constants[name], {}) if name in constants else HOLE
        case ast.Name(id=name) if isinstance(constants.get(name), ast.JoinedStr | ast.Constant):
            return template(constants[name], {})
    return HOLE


def escape(text: str) -> str:
    """Keep a template on one line."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")
