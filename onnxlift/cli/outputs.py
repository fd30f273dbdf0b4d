"""An inference answer for people and for programs."""

from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from onnxlift.client import Answer
from onnxlift_runtime.http.encoding import encode_json
from onnxlift_runtime.tensors.arrays import Array

MAX_ROWS: Final = 10
MAX_VALUES: Final = 12


def show(answer: Answer, *, as_classes: bool) -> None:
    """Print one table for each output: its rows, or the best classes of each sample."""
    console = Console()
    for name in answer.outputs:
        title = f"{answer.model} version {answer.version}: {name}"
        console.print(
            _class_table(answer, name, title) if as_classes else _value_table(answer, name, title)
        )


def as_json(answer: Answer, *, as_classes: bool) -> str:
    """One JSON object: outputs by name, as nested lists or as lists of classes; NaN and infinities
    are ``null``.
    """
    outputs = {name: _plain(answer, name, as_classes=as_classes) for name in answer.outputs}
    return encode_json(
        {"model": answer.model, "version": answer.version, "outputs": outputs}
    ).decode()


def _plain(answer: Answer, name: str, *, as_classes: bool) -> Any:
    if as_classes:
        found = answer.classes(name)
        return [
            [{"label": one.label, "index": one.index, "score": one.score} for one in row]
            for row in found
        ]
    array = answer.outputs[name]
    if array.dtype != object:
        return array.tolist()
    return np.vectorize(_text, otypes=[object])(array).tolist() if array.size else []


def _class_table(answer: Answer, name: str, title: str) -> Table:
    table = Table("sample", "rank", "class", "score", title=title)
    rows = answer.classes(name)
    for sample, row in enumerate(rows[:MAX_ROWS]):
        for rank, found in enumerate(row, start=1):
            table.add_row(
                str(sample), str(rank), found.label or str(found.index), f"{found.score:.4g}"
            )
    return _with_rest(table, len(rows))


def _value_table(answer: Answer, name: str, title: str) -> Table:
    array = answer.outputs[name]
    shape = ",".join(map(str, array.shape))
    table = Table("sample", "values", title=f"{title} {answer.datatypes[name]} [{shape}]")
    rows = array if array.ndim else array.reshape(1)
    for sample, row in enumerate(rows[:MAX_ROWS]):
        table.add_row(str(sample), _values(np.asarray(row, dtype=array.dtype)))
    return _with_rest(table, len(rows))


def _with_rest(table: Table, count: int) -> Table:
    if count > MAX_ROWS:
        table.caption = f"… and {count - MAX_ROWS} more; --json prints all"
    return table


def _values(row: Array) -> str:
    items = row.reshape(-1)
    shown = ", ".join(_value(item) for item in items[:MAX_VALUES])
    return shown + (f", … ({items.size} values)" if items.size > MAX_VALUES else "")


def _value(item: Any) -> str:
    if isinstance(item, bytes):
        return repr(_text(item))
    return f"{item:.5g}" if isinstance(item, np.floating) else str(item)


def _text(item: bytes) -> str:
    """UTF-8 text; bytes that are none are shown escaped."""
    return item.decode("utf-8", "backslashreplace")
