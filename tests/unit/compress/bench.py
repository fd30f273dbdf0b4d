"""What the tests of ``compress`` share: how to configure a model, offer other recipes, and make things fail."""

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from onnxlift.compress.recipes import PRESETS, Recipe
from onnxlift.compress.steps import Context
from onnxlift.config import Config
from onnxlift_runtime.manifest import Latency, Measurements

FIGURES = Measurements(5.0, 60.0, (Latency(1, 0.1, 0.2),), "test", 1, "1.31.1")
Make = Callable[..., Config]


def silent(_doing: str, _done: int, _total: int) -> None:
    pass


def offer(monkeypatch: pytest.MonkeyPatch, *recipes: Recipe) -> None:
    monkeypatch.setitem(PRESETS, "x86_64", lambda: recipes)


class Spoil:
    """A step that turns the model into something else."""

    def __init__(self, change: Callable[[onnx.ModelProto], onnx.ModelProto]) -> None:
        self.change = change

    def apply(self, model: onnx.ModelProto, _context: Context) -> onnx.ModelProto:
        return self.change(model)


def raising(error: BaseException) -> Callable[..., Any]:
    def failing(*_: Any, **__: Any) -> Any:
        raise error

    return failing
