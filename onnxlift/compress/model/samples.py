"""Samples from .npz files: one array per input of the model, samples first, or one per sample."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from onnxlift.arrays import opened, save_arrays
from onnxlift.columns import Array, Column, Columns
from onnxlift.compress.model.batch import EVERYWHERE, Batch
from onnxlift_runtime.errors import SamplesInvalid
from onnxlift_runtime.manifest import TensorSpec
from onnxlift_runtime.tensors.datatypes import datatype

__all__ = ["Array", "Samples", "load_samples", "read_stored", "require_disjoint"]

_NUMBERED: Final = re.compile(r"(.+)\.(\d+)")


@dataclass(frozen=True)
class Samples:
    """Arrays by input name, each with the samples as its first dimension, or one array for each
    sample; ``labels`` holds each sample's true class. ``batch`` says how the model takes them.
    """

    arrays: Mapping[str, Column]
    labels: Array | None = None
    batch: Batch = field(default=EVERYWHERE)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def columns(self) -> Columns:
        """The arrays, and how the model takes them."""
        return Columns(self.arrays, self.batch.of(self.arrays), self.batch.rows)

    def take(self, rows: Sequence[int] | Array) -> "Samples":
        """The samples at ``rows``, in that order; a row may come more than once."""
        labels = None if self.labels is None else self.labels[np.asarray(rows, dtype=np.int64)]
        return Samples(self.columns.take(rows).columns, labels, self.batch)

    def limit(self, count: int) -> "Samples":
        """At most ``count`` samples, evenly spread, so that a file sorted by class loses none."""
        if len(self) <= count:
            return self
        return self.take(np.linspace(0, len(self) - 1, count).astype(np.int64))

    def batches(self, rows: int) -> Iterator[dict[str, Array]]:
        """Feeds of at most ``rows`` samples, as ``Columns.runs`` puts them together."""
        columns = self.columns
        return (columns.feed(index) for index in columns.runs(rows))

    def repeated(self, rows: int) -> dict[str, Array]:
        """One feed of ``rows`` samples, repeating them where there are fewer; where their shapes
        differ, the largest alone.
        """
        index = np.arange(max(rows, 1)) % len(self)
        if any(isinstance(column, tuple) for column in self.arrays.values()):
            index = np.full(len(index), max(range(len(self)), key=self._size))
        shared = [name for name in self.arrays if name not in self.columns.axes]
        taken = self.take(index if self.columns.axes else index[:1])
        same = {name: taken.arrays[name][:1] for name in shared}
        repeats = {name: tuple(column) * len(taken) for name, column in same.items()}
        columns = Columns({**taken.arrays, **repeats}, self.columns.axes)
        return columns.feed(range(len(taken)))

    def digests(self) -> list[bytes]:
        """One value for each sample that is equal where two samples are, over all inputs."""
        return [
            b"\0".join(_content(self.arrays[name][row]) for name in sorted(self.arrays))
            for row in range(len(self))
        ]

    def store(self, path: Path) -> None:
        """Write the inputs, without labels, so that ``read_stored`` gives them back."""
        plain: dict[str, Array] = {}
        for name, column in self.arrays.items():
            if isinstance(column, tuple):
                plain |= {f"{name}.{row}": _plain(array) for row, array in enumerate(column)}
            else:
                plain[name] = _plain(column)
        save_arrays(path, plain)

    def _size(self, row: int) -> int:
        return sum(int(np.size(column[row])) for column in self.arrays.values())


def read_stored(path: Path, inputs: Sequence[TensorSpec], batch: Batch = EVERYWHERE) -> Samples:
    """Read what ``Samples.store`` wrote."""
    columns: dict[str, Column] = {}
    with np.load(path, allow_pickle=False) as file:
        for spec in inputs:
            if spec.name in file.files:
                columns[spec.name] = _restored(file[spec.name], spec)
            else:
                names = _numbers(file.files, spec.name)
                columns[spec.name] = tuple(_restored(file[name], spec) for name in names)
    return Samples(columns, batch=batch)


def load_samples(
    path: Path,
    inputs: Sequence[TensorSpec],
    labels: str | None = None,
    batch: Batch = EVERYWHERE,
) -> Samples:
    """Read the arrays that the inputs need, and ``labels`` where it names an array.

    Nothing in the file is executed (no pickles). Raises ``SamplesInvalid`` naming file, array, what
    it is and what the model takes.
    """
    stored = read_columns(path, [*(spec.name for spec in inputs), *([labels] if labels else [])])
    fitted = {spec.name: _fitted(path, stored[spec.name], spec, batch) for spec in inputs}
    arrays = {name: column for name, column in fitted.items() if column is not None}
    truth = stored[labels] if labels else None
    counts = {name: len(column) for name, column in arrays.items()}
    counts |= {labels: len(truth)} if labels and truth is not None else {}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name!r} {count}" for name, count in counts.items())
        raise SamplesInvalid(
            f"{path}: every array must hold the same number of samples; they hold {listed}"
        )
    count = next(iter(counts.values()), 1)
    if not count:
        raise SamplesInvalid(f"{path}: holds no samples")
    shared = {name: stored[name] for name in fitted if name not in arrays}
    arrays |= {spec.name: _repeated(path, shared, spec, count) for spec in inputs
               if spec.name in shared}  # fmt: skip
    ordered = {spec.name: arrays[spec.name] for spec in inputs}
    return Samples(ordered, None if truth is None else np.asarray(truth), batch)


def require_disjoint(calibration: Samples, held_out: Samples, where: Path) -> None:
    """Refuse samples that a recipe looks at and the gate judges with; raises ``SamplesInvalid``
    with their number.
    """
    seen = set(calibration.digests())
    shared = sum(digest in seen for digest in held_out.digests())
    if shared:
        raise SamplesInvalid(
            f"{shared} of {len(held_out)} held-out samples are also in {where}; the gate needs "
            f"samples of its own"
        )


def read_columns(path: Path, names: Sequence[str]) -> dict[str, Column]:
    """The arrays of these names as they are stored: ``x``, or ``x.0``, ``x.1`` and so on; raises
    ``SamplesInvalid``.
    """
    try:
        with opened(path) as file:
            if isinstance(file, np.ndarray):
                raise SamplesInvalid(
                    f"{path} is a single array; a .npz file with one array per input was expected"
                )
            numbered = {name: _numbers(file.files, name) for name in names}
            missing = [name for name in names if name not in file.files and not numbered[name]]
            if missing:
                raise SamplesInvalid(
                    f"{path}: has no array {missing[0]!r}; it has "
                    f"{', '.join(map(repr, file.files))}"
                )
            return {
                name: file[name]
                if name in file.files
                else tuple(file[item] for item in numbered[name])
                for name in names
            }
    except FileNotFoundError as error:
        raise SamplesInvalid(
            f"{path} does not exist; it should hold one array per input of the model"
        ) from error
    except (OSError, ValueError) as error:
        raise SamplesInvalid(
            f"{path} is not a readable .npz file of plain arrays: {error}"
        ) from error


def _numbers(files: Sequence[str], name: str) -> list[str]:
    """``x.0``, ``x.1`` and so on, in the order of their numbers."""
    found = {
        int(match[2]): file
        for file in files
        if (match := _NUMBERED.fullmatch(file)) and match[1] == name
    }
    return [found[number] for number in sorted(found)]


def _content(row: Array) -> bytes:
    array = np.asarray(row)
    return repr(array.tolist()).encode() if array.dtype == object else array.tobytes()


def _plain(array: Array) -> Array:
    """Text as fixed-width bytes: object arrays would need pickles."""
    array = np.asarray(array)
    return array.astype(np.bytes_) if array.dtype == object else array


def _restored(array: Array, spec: TensorSpec) -> Array:
    return array.astype(object) if spec.datatype == "BYTES" else array


def _fitted(path: Path, column: Column, spec: TensorSpec, batch: Batch) -> Column | None:
    """The column of an input as ``Columns`` has it; None where one array is for all samples."""
    if isinstance(column, tuple):
        return tuple(
            _shaped(array, spec, batch, f"{path}: array {f'{spec.name}.{row}'!r}", stacked=False)
            for row, array in enumerate(column)
        )
    if batch.shares(spec, column.shape):
        return None
    return _shaped(column, spec, batch, f"{path}: array {spec.name!r}", stacked=True)


def _repeated(path: Path, shared: Mapping[str, Column], spec: TensorSpec, count: int) -> Array:
    array = _typed(np.asarray(shared[spec.name]), spec, f"{path}: array {spec.name!r}")
    return np.broadcast_to(array, (count, *array.shape))


def _shaped(
    array: Array,
    spec: TensorSpec,
    batch: Batch,
    what: str,
    *,
    stacked: bool,
) -> Array:
    """Samples of one input in the one form that ``Columns`` knows; raises ``SamplesInvalid`` that
    begins with ``what``.
    """
    if stacked and array.ndim == 0:
        raise SamplesInvalid(f"{what} has no dimensions; its first one must be the samples")
    lead = 1 if stacked else 0
    found = batch.arranged(spec, array.shape[lead:])
    if found is None:
        wanted = [*(["samples"] if stacked else []), *map(str, batch.sample_shape(spec))]
        raise SamplesInvalid(
            f"{what} has shape {list(array.shape)}, the model takes "
            f"[{', '.join(wanted)}]{batch.advice(spec, array.ndim - lead)}"
        )
    return _typed(array.reshape((*array.shape[:lead], *found)), spec, what)


def _typed(array: Array, spec: TensorSpec, what: str) -> Array:
    if spec.datatype == "BYTES" and array.dtype.kind in "US":
        encoded = np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array
        return np.asarray(encoded).astype(object)
    wanted_dtype = datatype(spec.datatype).numpy
    if array.dtype.name != wanted_dtype:
        raise SamplesInvalid(
            f"{what} is {array.dtype.name}, the model takes {spec.datatype} ({wanted_dtype})"
        )
    return np.require(array, dtype=wanted_dtype, requirements="C")
