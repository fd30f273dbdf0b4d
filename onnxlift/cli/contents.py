"""What ``onnxlift inspect`` tells people: tables that fit into eighty columns."""

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onnxlift.compress.inspect.inspection import Inspection, Share
from onnxlift.units import ratio, size

_MOST_ROWS: Final = 12
_BAR_CHARACTERS: Final = 20


def as_tables(found: Inspection) -> RenderableType:
    """The whole inspection, the estimates last: they are what a reader acts on."""
    whole = sum(share.size_bytes for share in found.datatypes)
    parts = [
        _head(found),
        _titled("inputs and outputs", _values(found)),
        _titled("size by operator", _shares(found.operators, "operator", "nodes", whole)),
        _titled("size by layer", _shares(found.layers, "layer", "weights", whole)),
        _titled("size by datatype", _shares(found.datatypes, "datatype", "weights", whole)),
        _titled("what may be compressed (estimates from the weights alone)", _estimates(found)),
    ]
    return Group(*parts)


def _head(found: Inspection) -> RenderableType:
    """The file in a few lines; a name out of a model is shown as it is, never read as markup."""
    table = _table("", "")
    table.show_header = False
    table.add_row("file", Text(found.path, "bold", overflow="fold"))
    table.add_row("size", f"{size(found.size_bytes)}, {found.parameters:,} parameters")
    for data in found.files:
        table.add_row("", Text(f"of which {size(data.size_bytes)} in {data.path}", overflow="fold"))
    domains = f", {', '.join(found.domains)}" if found.domains else ""
    table.add_row("opset", Text(f"{found.opset}{domains}"))
    table.add_row("producer", Text(_plain(found.producer) or "not named", overflow="fold"))
    return table


def _values(found: Inspection) -> Table:
    table = _table("", "name", "datatype", "shape")
    for role, values in (("input", found.inputs), ("output", found.outputs)):
        for value in values:
            shape = ", ".join(_plain(str(size)) for size in value.shape)
            table.add_row(
                role,
                _name(value.name),
                value.datatype.lower(),
                Text(f"[{shape}]", overflow="fold"),
            )
    return table


def _shares(shares: Sequence[Share], head: str, counted: str, whole: int) -> Table:
    table = _table(head, f">{counted}", ">size", "", ">")
    for share in shares[:_MOST_ROWS]:
        part = share.size_bytes / whole if whole else 0.0
        table.add_row(
            _name(share.name), str(share.count), size(share.size_bytes), _bar(part), f"{part:.0%}"
        )
    if rest := shares[_MOST_ROWS:]:
        count = sum(share.count for share in rest)
        size_bytes = sum(share.size_bytes for share in rest)
        bar = _bar(size_bytes / whole if whole else 0.0)
        table.add_row(Text(f"… {len(rest)} more", "dim"), str(count), size(size_bytes), bar, "")
    return table


def _estimates(found: Inspection) -> RenderableType:
    if not found.estimates:
        return Text(
            "Nothing that the recipes store otherwise; structured pruning may still help.", "dim"
        )
    table = _table("stored as", ">weights", ">now", ">model", ">", ">weight error")
    for item in found.estimates:
        table.add_row(
            item.family,
            str(item.weights),
            size(item.touched_bytes),
            size(item.size_bytes),
            ratio(item.size_bytes, found.size_bytes),
            f"{item.error:.2%}",
        )
    return table


def _titled(title: str, body: RenderableType) -> RenderableType:
    return Padding(Group(Text(title, "bold"), body), (1, 0, 0, 0))


def _table(*heads: str) -> Table:
    """Heads that start with ``>`` stand over numbers; words may be folded, numbers never."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in heads:
        right = head.startswith(">")
        table.add_column(
            head.lstrip(">"), justify="right" if right else "left", no_wrap=right, overflow="fold"
        )
    return table


def _bar(part: float) -> Text:
    filled = round(part * _BAR_CHARACTERS)
    return Text("█" * filled, "blue")


def _name(name: str) -> Text:
    return Text(_plain(name) or "(no name)", overflow="fold")


def _plain(name: str) -> str:
    """A name without characters that would move a terminal's cursor or colours."""
    return "".join(character if character.isprintable() else "\ufffd" for character in name)
