"""The first steps of many recipes are the same: each such beginning is made once, by whichever
process comes first.
"""

import fcntl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import onnx

from onnxlift.compress.model.writing import save_model
from onnxlift.compress.recipes.recipe import Recipe
from onnxlift.compress.steps import Context, Step
from onnxlift.compress.steps.cache import WeightCache


@dataclass(frozen=True)
class Beginning:
    """The model after the steps that only prepare, the steps that are left, and what they may look
    at.
    """

    model: onnx.ModelProto
    steps: tuple[Step, ...]
    context: Context

    def finish(self) -> onnx.ModelProto:
        """Apply the steps that are left; raises what they raise."""
        model = self.model
        for step in self.steps:
            model = step.apply(model, self.context)
        return model


def begin(
    folder: Path, model: onnx.ModelProto, steps: Sequence[Step], context: Context
) -> Beginning:
    """The beginning of a recipe, kept in ``folder`` together with what its other steps store.

    Raises what the steps raise; then nothing is kept.
    """
    first = tuple(takewhile(lambda step: step.prepares, steps))
    left = tuple(steps[len(first) :])
    if not first:
        return Beginning(model, left, context)
    path = folder / f"{Recipe('beginning', first).digest}.onnx"
    begun = _begun(folder, path, model, first, context)
    if all(step.stores for step in left):
        context = replace(context, origin=begun, cache=WeightCache(path.with_suffix(".stock")))
    return Beginning(begun, left, context)


def _begun(
    folder: Path, path: Path, model: onnx.ModelProto, first: Sequence[Step], context: Context
) -> onnx.ModelProto:
    folder.mkdir(exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            earlier = begin(folder, model, first[:-1], context).model
            _keep(first[-1].apply(earlier, context), path)
    return onnx.load(path)


def _keep(model: onnx.ModelProto, path: Path) -> None:
    """Write under another name first: a process that is killed leaves nothing that looks
    finished.
    """
    scratch = path.with_suffix("")
    scratch.mkdir(exist_ok=True)
    save_model(model, scratch / path.name)
    for written in sorted(
        scratch.iterdir(), reverse=True
    ):  # the weights beside it before the graph
        written.replace(path.parent / written.name)
    scratch.rmdir()
