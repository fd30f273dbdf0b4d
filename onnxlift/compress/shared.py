"""The first steps of many recipes are the same: each such beginning is made once, by whichever process comes first."""

import fcntl
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Final

import onnx

from onnxlift.compress.recipes import Recipe
from onnxlift.compress.steps import Context, Step
from onnxlift.compress.storage import save_model

# What only prepares: exact changes, which take long and differ in nothing between recipes.
_PREPARING: Final = ("Clean", "SmoothQuant")


def begin(
    folder: Path, model: onnx.ModelProto, steps: Sequence[Step], context: Context
) -> tuple[onnx.ModelProto, tuple[Step, ...]]:
    """The model after the steps that only prepare, and the steps that are left; kept in ``folder``.

    Raises what the steps raise; then nothing is kept.
    """
    first = tuple(takewhile(lambda step: type(step).__name__ in _PREPARING, steps))
    if not first:
        return model, tuple(steps)
    recipe = Recipe("beginning", first)
    folder.mkdir(exist_ok=True)
    path = folder / f"{recipe.digest}.onnx"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _keep(recipe.apply(model, context), path)
    return onnx.load(path), tuple(steps[len(first) :])


def _keep(model: onnx.ModelProto, path: Path) -> None:
    """Write under another name first: a process that is killed leaves nothing that looks finished."""
    scratch = path.with_suffix("")
    scratch.mkdir(exist_ok=True)
    save_model(model, scratch / path.name)
    for written in sorted(scratch.iterdir(), reverse=True):  # the weights beside it before the graph
        written.replace(path.parent / written.name)
    scratch.rmdir()
