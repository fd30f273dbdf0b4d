"""What counts the rows of a model: an axis of each tensor that has it, a fixed number, or nothing
at all; pure.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from onnxlift_runtime.manifest import Manifest, TensorSpec

MAX_BATCH_SIZE: Final = 256
# Names that exporters and people give to a dimension that counts rows.
_ROWS: Final = re.compile(r"(?i).*batch.*|n|b|bs|None")


def names_rows(dimension: str) -> bool:
    """Whether a dimension's name says that it counts rows."""
    return bool(_ROWS.fullmatch(dimension))


@dataclass(frozen=True)
class Batch:
    """``axes`` maps each input and output that has a batch to its dimension, ``rows`` is how many a
    fixed batch has, 0 where it is free.

    ``single`` names the inputs whose first dimension a sample leaves out although the model has no
    batch: there it is one row. ``everywhere`` stands for dimension 0 of every tensor.
    """

    axes: Mapping[str, int] = field(default_factory=dict)
    rows: int = 0
    single: frozenset[str] = frozenset()
    everywhere: bool = False

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> "Batch":
        """How the model of a draft takes its samples as they are stored: nothing is left out of
        them any more.
        """
        axes = manifest.batch_axes or {}
        fixed = 0 if manifest.max_batch_size else _fixed(manifest.inputs, axes)
        return cls(axes, fixed)

    @property
    def max_batch_size(self) -> int:
        """What the manifest says: the most rows in one request, 0 where a request is one run as it
        stands.
        """
        return MAX_BATCH_SIZE if (self.axes or self.everywhere) and not self.rows else 0

    def axis(self, name: str) -> int | None:
        """The dimension that counts the rows of a tensor, None where it has none."""
        return 0 if self.everywhere else self.axes.get(name)

    def of(self, names: Iterable[str]) -> dict[str, int]:
        """The axes of these tensors, without those that have none."""
        axes = ((name, self.axis(name)) for name in names)
        return {name: axis for name, axis in axes if axis is not None}

    def sample_shape(self, spec: TensorSpec) -> tuple[int, ...]:
        """What one sample of an input is."""
        axis = self.axis(spec.name)
        return tuple(size for place, size in enumerate(spec.shape) if place != axis)

    def shares(self, spec: TensorSpec, shape: Sequence[int]) -> bool:
        """Whether a stored array is an input that all samples have in common: it has no batch, and
        just this shape.
        """
        if self.axis(spec.name) is not None or tuple(shape) != spec.shape:
            return False
        return bool(self.axes) or not shape

    def arranged(self, spec: TensorSpec, shape: Sequence[int]) -> tuple[int, ...] | None:
        """The shape of one sample of an input in the form that ``sample_shape`` says; None where
        it is no sample of it.

        A batch of one may be written, and the dimension of one row may be left out.
        """
        wanted, found = self.sample_shape(spec), tuple(shape)
        axis = self.axis(spec.name)
        if axis is not None and len(found) == len(wanted) + 1 and found[axis] == 1:
            found = (*found[:axis], *found[axis + 1 :])
        if len(found) == len(wanted) - 1 and self._is_single(spec):
            found = (1, *found)
        fits = len(found) == len(wanted) and all(
            want in (-1, have) for want, have in zip(wanted, found, strict=True)
        )
        return found if fits else None

    def advice(self, spec: TensorSpec, dimensions: int) -> str:
        """What to do about samples that have so many dimensions each."""
        if self.everywhere:
            return ""
        axis = self.axis(spec.name)
        if axis is not None and dimensions == len(spec.shape):
            return (
                f'; the batch is dimension {axis} of it. Write batch = "none" where a sample is a '
                f"whole array of the model"
            )
        if axis is None and dimensions == len(spec.shape) - 1:
            rows = f", or write batch_axis = {{{spec.name} = 0}} where a sample is one row"
            return (
                f"; it has no batch, so a sample is a whole array. Stack samples in front, or name "
                f"them {spec.name}.0, {spec.name}.1 and so on{rows if spec.shape[0] == -1 else ''}"
            )
        return ""

    def _is_single(self, spec: TensorSpec) -> bool:
        return spec.name in self.single or (self.axis(spec.name) is None and spec.shape[:1] == (1,))


EVERYWHERE: Final = Batch(everywhere=True)


def _fixed(inputs: Iterable[TensorSpec], axes: Mapping[str, int]) -> int:
    return next((spec.shape[axes[spec.name]] for spec in inputs if spec.name in axes), 0)
