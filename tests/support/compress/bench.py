"""What the tests of ``compress`` share: how to configure a model, offer other recipes, and make
things fail.

Steps are dataclasses of this module, because they travel to other processes as data.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx
import pytest
from onnx import helper

from onnxlift.compress.recipes.presets import PRESETS
from onnxlift.compress.recipes.recipe import Recipe
from onnxlift.compress.search.run import Progress
from onnxlift.compress.steps import Context, Step
from onnxlift.config import Config
from onnxlift_runtime.manifest import Latency, Measurements
from tests.support import builders

FIGURES = Measurements(5.0, 60.0, (Latency(1, 0.1, 0.2),), "test", 1, "1.31.1")
Make = Callable[..., Config]


def silent(_state: Progress) -> None:
    pass


def offer(monkeypatch: pytest.MonkeyPatch, *recipes: Recipe) -> None:
    monkeypatch.setitem(PRESETS, "x86_64", lambda: recipes)


@dataclass(frozen=True)
class Fail(Step):
    """A step that raises."""

    words: str = "no"

    def apply(self, _model: onnx.ModelProto, _context: Context) -> onnx.ModelProto:
        raise RuntimeError(self.words)


@dataclass(frozen=True)
class Rename(Step):
    """A step that gives the model's first input another name."""

    def apply(self, model: onnx.ModelProto, _context: Context) -> onnx.ModelProto:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        copy.graph.input[0].name = "renamed"
        copy.graph.node[0].input[0] = "renamed"
        return copy


@dataclass(frozen=True)
class Break(Step):
    """A step that leaves a graph nobody can open."""

    def apply(self, model: onnx.ModelProto, _context: Context) -> onnx.ModelProto:
        return builders.build(
            [helper.make_node("Nothing", ["x"], ["y"])], list(model.graph.input), []
        )


@dataclass(frozen=True)
class Die(Step):
    """A step whose process is killed, as by a kernel that is out of memory."""

    number: int = 9

    def apply(self, _model: onnx.ModelProto, _context: Context) -> onnx.ModelProto:
        os.kill(os.getpid(), self.number)
        raise AssertionError


@dataclass(frozen=True)
class Hang(Step):
    """A step that does not end."""

    seconds: float = 600.0

    def apply(self, model: onnx.ModelProto, _context: Context) -> onnx.ModelProto:
        time.sleep(self.seconds)
        return model


def raising(error: BaseException) -> Callable[..., Any]:
    def failing(*_: Any, **__: Any) -> Any:
        raise error

    return failing
