"""Samples from .npz files: one array per input of the model, samples first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxlift.arrays import opened
from onnxlift_runtime.errors import SamplesInvalid
from onnxlift_runtime.manifest import TensorSpec
from onnxlift_runtime.tensors.datatypes import datatype

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Samples:
    """Arrays by input name, each with the samples as its first dimension; ``labels`` holds each
    sample's true class.
    """

    arrays: Mapping[str, Array]
    labels: Array | None = None

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def take(self, rows: Sequence[int] | Array) -> "Samples":
        """The samples at ``rows``, in that order; a row may come more than once."""
        index = np.asarray(rows, dtype=np.int64)
        labels = None if self.labels is None else self.labels[index]
        return Samples({name: array[index] for name, array in self.arrays.items()}, labels)

    def limit(self, count: int) -> "Samples":
        """At most ``count`` samples, evenly spread, so that a file sorted by class loses none."""
        if len(self) <= count:
            return self
        return self.take(np.linspace(0, len(self) - 1, count).astype(np.int64))

    def batches(self, rows: int) -> Iterator[dict[str, Array]]:
        """Feeds of ``rows`` samples; the last may be smaller."""
        for start in range(0, len(self), rows):
            yield {name: array[start : start + rows] for name, array in self.arrays.items()}

    def digests(self) -> list[bytes]:
        """One value for each sample that is equal where two samples are, over all inputs."""
        return [
            b"\0".join(_content(self.arrays[name][row]) for name in sorted(self.arrays))
            for row in range(len(self))
        ]

    def store(self, path: Path) -> None:
        """Write the inputs, without labels, so that ``read_stored`` gives them back."""
        # Text is stored as fixed-width bytes: object arrays would need pickles.
        plain = {
            n: array.astype(np.bytes_) if array.dtype == object else array
            for n, array in self.arrays.items()
        }
        np.savez(path, **plain)  # type: ignore[arg-type]


def read_stored(path: Path, inputs: Sequence[TensorSpec]) -> Samples:
    """Read what ``Samples.store`` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return Samples({spec.name: _restored(file[spec.name], spec) for spec in inputs})


def _restored(array: Array, spec: TensorSpec) -> Array:
    return array.astype(object) if spec.datatype == "BYTES" else array


def load_samples(path: Path, inputs: Sequence[TensorSpec], labels: str | None = None) -> Samples:
    """Read the arrays that the inputs need, and ``labels`` where it names an array.

    Nothing in the file is executed (no pickles). Raises ``SamplesInvalid`` naming file, array, what
    it is and what the model takes.
    """
    stored = _stored(path, [*(spec.name for spec in inputs), *([labels] if labels else [])])
    arrays = {spec.name: _fitted(path, stored[spec.name], spec) for spec in inputs}
    counts = {name: len(array) for name, array in stored.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name!r} {count}" for name, count in counts.items())
        raise SamplesInvalid(
            f"{path}: every array must hold the same number of samples; they hold {listed}"
        )
    if not next(iter(counts.values())):
        raise SamplesInvalid(f"{path}: holds no samples")
    return Samples(arrays, stored[labels] if labels else None)


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


def _content(row: Array) -> bytes:
    return repr(row.tolist()).encode() if row.dtype == object else row.tobytes()


def _stored(path: Path, names: Sequence[str]) -> dict[str, Array]:
    try:
        with opened(path) as file:
            if isinstance(file, np.ndarray):
                raise SamplesInvalid(
                    f"{path} is a single array; a .npz file with one array per input was expected"
                )
            missing = [name for name in names if name not in file.files]
            if missing:
                raise SamplesInvalid(
                    f"{path}: has no array {missing[0]!r}; it has "
                    f"{', '.join(map(repr, file.files))}"
                )
            return {name: _with_rows(path, name, file[name]) for name in names}
    except FileNotFoundError as error:
        raise SamplesInvalid(
            f"{path} does not exist; it should hold one array per input of the model"
        ) from error
    except (OSError, ValueError) as error:
        raise SamplesInvalid(
            f"{path} is not a readable .npz file of plain arrays: {error}"
        ) from error


def _with_rows(path: Path, name: str, array: Array) -> Array:
    if array.ndim == 0:
        raise SamplesInvalid(
            f"{path}: array {name!r} has no dimensions; its first one must be the samples"
        )
    return array


def _fitted(path: Path, array: Array, spec: TensorSpec) -> Array:
    wanted = ("samples", *spec.shape[1:])
    fits = array.ndim == len(wanted) and all(
        want in (-1, have) for want, have in zip(spec.shape[1:], array.shape[1:], strict=False)
    )
    if not fits:
        shape = ", ".join(str(size) for size in wanted)
        raise SamplesInvalid(
            f"{path}: array {spec.name!r} has shape {list(array.shape)}, the model takes [{shape}]"
        )
    if spec.datatype == "BYTES" and array.dtype.kind in "US":
        encoded = np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array
        return encoded.astype(object)
    wanted_dtype = datatype(spec.datatype).numpy
    if array.dtype.name != wanted_dtype:
        raise SamplesInvalid(
            f"{path}: array {spec.name!r} is {array.dtype.name}, the model takes {spec.datatype} "
            f"({wanted_dtype})"
        )
    return np.ascontiguousarray(array, dtype=wanted_dtype)
