"""Several calls as one inference, and each one's own answer again; pure but for the run itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.errors import OnnxliftError
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors import Array

Arrays = Mapping[str, Array]
Run = Callable[[Manifest, Arrays, Sequence[str]], dict[str, Array]]


class Runner(Protocol):
    """Whoever runs models: ``engine.Engine``, with all of them open, or one that loads them when asked."""

    @property
    def catalog(self) -> Catalog:
        """The models that it knows."""
        ...

    @property
    def limits(self) -> Limits:
        """The bounds of what is read for them."""
        ...

    def run(self, manifest: Manifest, feeds: Arrays, outputs: Sequence[str]) -> dict[str, Array]:
        """Run one version once; safe from several threads.

        Raises ``ModelUnavailable`` where the version cannot run here for now, ``ArtifactError`` where it never can, and
        what ``Session.run`` raises.
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
        """The size of the batch dimension."""
        return int(next(iter(self.arrays.values())).shape[0])

    @property
    def signature(self) -> tuple[object, ...]:
        """What two calls must share to run together: version, outputs, and all shapes after the batch."""
        shapes = tuple((name, array.shape[1:]) for name, array in sorted(self.arrays.items()))
        return (self.manifest.name, self.manifest.version, self.outputs, shapes)


def run_together(feeds: Sequence[Feed], run: Run) -> list[dict[str, Array] | OnnxliftError]:
    """Run all feeds in as few inferences as their shapes and the model's batch limit allow; answers in the same order.

    Where a joint run fails each of its feeds runs alone, so that one bad input fails by itself; a failure that may pass
    is no input's, and is the answer to all.
    """
    answers: list[dict[str, Array] | OnnxliftError] = [OnnxliftError("not run")] * len(feeds)
    for group in _groups(feeds):
        for index, answer in zip(group, _run_group([feeds[index] for index in group], run), strict=True):
            answers[index] = answer
    return answers


def _groups(feeds: Sequence[Feed]) -> Iterator[list[int]]:
    """Indices of feeds that may run together, each group within its model's batch limit."""
    open_groups: dict[tuple[object, ...], list[int]] = {}
    for index, feed in enumerate(feeds):
        if not feed.manifest.max_batch_size:
            yield [index]
            continue
        group = open_groups.setdefault(feed.signature, [])
        if group and sum(feeds[other].rows for other in group) + feed.rows > feed.manifest.max_batch_size:
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
    first = group[0]
    joined = {name: np.concatenate([feed.arrays[name] for feed in group]) for name in first.arrays}
    results = run(first.manifest, joined, first.outputs)
    ends = np.cumsum([feed.rows for feed in group])
    for name, result in results.items():
        if result.ndim == 0 or result.shape[0] != ends[-1]:
            raise _NotSplittable(name)
    pieces = {name: np.split(result, ends[:-1]) for name, result in results.items()}
    return [{name: pieces[name][index] for name in pieces} for index in range(len(group))]


class _NotSplittable(Exception):
    """An output has no batch dimension, so it cannot be told which rows are whose."""
