"""Several calls as one inference, and each one's own answer again; pure but for the run itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.errors import OnnxliftError
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors.arrays import Array
from onnxlift_runtime.tensors.wire import count_rows

Arrays = Mapping[str, Array]
Run = Callable[[Manifest, Arrays, Sequence[str]], dict[str, Array]]


class Runner(Protocol):
    """Whoever runs models: ``engine.Engine``, with all of them open, or one that loads them when
    asked.
    """

    @property
    def catalog(self) -> Catalog:
        """The models that it knows."""
        ...

    @property
    def limits(self) -> Limits:
        """The bounds of what is read for them."""
        ...

    def prefetch(self, manifest: Manifest) -> None:
        """Have one version ready to run, however long that takes; raises what ``run`` raises for
        want of it.
        """
        ...

    def run(self, manifest: Manifest, feeds: Arrays, outputs: Sequence[str]) -> dict[str, Array]:
        """Run one version once; safe from several threads.

        Raises ``ModelUnavailable`` where the version cannot run here for now, ``ArtifactError``
        where it never can, and what ``Session.run`` raises.
        """
        ...


@dataclass(frozen=True, slots=True)
class Feed:
    """The arrays of one call and the outputs that it needs."""

    manifest: Manifest
    arrays: Arrays
    outputs: tuple[str, ...]

    @property
    def rows(self) -> int:
        """The rows that it brings; 1 for a model without a batch."""
        return count_rows({name: array.shape for name, array in self.arrays.items()}, self.manifest)

    @property
    def rows_together(self) -> int:
        """How many rows may run as one inference with those of others; 0 where none may.

        An output without a batch belongs to all rows of an inference, so it is computed alone.
        """
        alone = any(self.manifest.batch_axis(name) is None for name in self.outputs)
        return 0 if alone else self.manifest.rows_together

    @property
    def length(self) -> int | None:
        """The length up to which its inputs may be filled; None where they may not, or differ in
        it.
        """
        padding = self.manifest.padding
        found = (
            {self.arrays[name].shape[padding.axis] for name in padding.inputs} if padding else set()
        )
        return found.pop() if len(found) == 1 else None

    @property
    def signature(self) -> tuple[object, ...]:
        """What two calls must share to run together: version, outputs, all shapes except the batch,
        and the inputs that have no batch.

        Lengths that may be filled up need only have the same next power of two: at most half of a
        batch is filling.
        """
        parts = tuple((name, self._part(name)) for name in sorted(self.arrays))
        return (self.manifest.name, self.manifest.version, self.outputs, parts)

    def filled(self, name: str, length: int) -> Array:
        """An input with its length filled up to ``length``, where it has one."""
        array, padding = self.arrays[name], self.manifest.padding
        if padding is None or self.length in {None, length} or name not in padding.inputs:
            return array
        widths = [(0, 0)] * array.ndim
        widths[padding.axis] = (0, length - array.shape[padding.axis])
        return np.pad(array, widths, constant_values=padding.inputs[name])

    def cut(self, name: str, answer: Array) -> Array:
        """An output of the filled inputs, cut back to the length that it would have had."""
        padding = self.manifest.padding
        if padding is None or self.length is None or name not in padding.outputs:
            return answer
        return answer[(slice(None),) * padding.axis + (slice(self.length),)]

    def _part(self, name: str) -> tuple[object, ...]:
        shape, axis = self._shape(name), self.manifest.batch_axis(name)
        if axis is None:
            return (shape, content(self.arrays[name]))
        return (*shape[:axis], *shape[axis + 1 :])

    def _shape(self, name: str) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.arrays[name].shape
        padding = self.manifest.padding
        if padding is None or self.length is None or name not in padding.inputs:
            return shape
        bucket = 1 << (self.length - 1).bit_length() if self.length else 0
        return (*shape[: padding.axis], bucket, *shape[padding.axis + 1 :])


def content(array: Array) -> bytes:
    """Bytes that are equal where two arrays of one shape are."""
    return repr(array.tolist()).encode() if array.dtype == object else array.tobytes()


def arrays_bytes(arrays: Arrays) -> int:
    """What arrays take in memory; of text, what its places take."""
    return sum(array.nbytes for array in arrays.values())


def run_together(feeds: Sequence[Feed], run: Run) -> list[dict[str, Array] | OnnxliftError]:
    """Run all feeds in as few inferences as their shapes and the model's batch limit allow; answers
    in the same order.

    Where a joint run fails each of its feeds runs alone, so that one bad input fails by itself; a
    failure that may pass is no input's, and is the answer to all.
    """
    answers: list[dict[str, Array] | OnnxliftError] = [OnnxliftError("not run")] * len(feeds)
    for group in _groups(feeds):
        for index, answer in zip(
            group, _run_group([feeds[index] for index in group], run), strict=True
        ):
            answers[index] = answer
    return answers


def _groups(feeds: Sequence[Feed]) -> Iterator[list[int]]:
    """Indices of feeds that may run together, each group within its model's batch limit."""
    open_groups: dict[tuple[object, ...], list[int]] = {}
    for index, feed in enumerate(feeds):
        if not feed.rows_together:
            yield [index]
            continue
        group = open_groups.setdefault(feed.signature, [])
        if group and sum(feeds[other].rows for other in group) + feed.rows > feed.rows_together:
            yield open_groups.pop(feed.signature)
            group = open_groups.setdefault(feed.signature, [])
        group.append(index)
    yield from open_groups.values()


def _run_group(group: Sequence[Feed], run: Run) -> list[dict[str, Array] | OnnxliftError]:
    if len(group) > 1:
        try:
            return list(_run_joined(group, run))
        except (OnnxliftError, _NotSplittable) as error:
            if isinstance(error, OnnxliftError) and error.retryable:
                return [error] * len(group)
            # Alone, below, each gets its own answer or its own error.
    return [_run_alone(feed, run) for feed in group]


def _run_alone(feed: Feed, run: Run) -> dict[str, Array] | OnnxliftError:
    try:
        return run(feed.manifest, feed.arrays, feed.outputs)
    except OnnxliftError as error:
        return error


def _run_joined(group: Sequence[Feed], run: Run) -> list[dict[str, Array]]:
    first, length = group[0], max(feed.length or 0 for feed in group)
    joined = {name: _join(group, name, length) for name in first.arrays}
    results = run(first.manifest, joined, first.outputs)
    ends = np.cumsum([feed.rows for feed in group])
    pieces = {}
    for name, result in results.items():
        axis = first.manifest.batch_axis(name)
        if (
            axis is None
            or result.ndim <= axis
            or result.shape[axis] != ends[-1]
            or not _has_length(first, name, result, length)
        ):
            raise _NotSplittable(name)
        pieces[name] = np.split(result, ends[:-1], axis)
    return [
        {name: feed.cut(name, pieces[name][index]) for name in pieces}
        for index, feed in enumerate(group)
    ]


def _join(group: Sequence[Feed], name: str, length: int) -> Array:
    """One input of all; without a batch it is the same for all."""
    axis = group[0].manifest.batch_axis(name)
    if axis is None:
        return group[0].arrays[name]
    return np.concatenate([feed.filled(name, length) for feed in group], axis)


def _has_length(feed: Feed, name: str, result: Array, length: int) -> bool:
    """Whether an output that is to be cut back has the length that its inputs had."""
    padding = feed.manifest.padding
    if padding is None or feed.length is None or name not in padding.outputs:
        return True
    return result.ndim > padding.axis and result.shape[padding.axis] == length


class _NotSplittable(Exception):
    """An output has no batch dimension, or not the length of its inputs: it cannot be told what is
    whose.
    """
