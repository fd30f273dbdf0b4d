"""Recipes: ordered steps under a name, as data that can be written down, compared and sent to
another process.
"""

import hashlib
import importlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from itertools import pairwise
from typing import Any, Final

import onnx

from onnxlift.compress.steps import Context, Stage, Step, kinds
from onnxlift_runtime.errors import RecipeInvalid

# Stands in a step's settings for the nodes that lose most at the recipe's precision, which each
# model has to tell.
WORST: Final = ("<worst>",)


@dataclass(frozen=True)
class Recipe:
    """Named steps, applied in order; no steps is the model as it came.

    ``isa_safe``: the answers cannot depend on the instruction set (no sum can saturate).
    ``batch_stable``: nor on what is in the same batch. ``needs`` and ``unless`` name the ``Traits``
    of graphs for which it makes sense. ``protect`` is how many nodes stand for ``WORST`` in a
    step's settings, the worst when all are brought to ``precision``.
    """

    name: str
    steps: tuple[Step, ...] = ()
    isa_safe: bool = True
    batch_stable: bool = True
    needs: frozenset[str] = field(default=frozenset())
    unless: frozenset[str] = field(default=frozenset())
    protect: int = 0
    precision: str = "int8"

    def __post_init__(self) -> None:
        _check_kinds(self.name, self.steps)
        _check_order(self.name, self.steps)

    @property
    def digest(self) -> str:
        """What makes two recipes the same: 16 hexadecimal digits over their steps and settings."""
        text = json.dumps(self.to_data(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def is_resolved(self) -> bool:
        """Whether every setting names nodes of a model."""
        return all(value != WORST for step in self.steps for value in _settings(step).values())

    @property
    def needs_samples(self) -> bool:
        """Whether one of its steps looks at calibration samples."""
        return any(step.needs_samples for step in self.steps)

    @property
    def words(self) -> tuple[str, ...]:
        """Each step with the settings that are not its defaults, for a reader."""
        return tuple(_words(step) for step in self.steps)

    def resolved(self, worst: Sequence[str]) -> "Recipe":
        """Put node names, the worst first, in the place of ``WORST``; a recipe without it stays as
        it is.

        So does one that protects as many nodes as there are, or more: nothing would be left to
        compress.
        """
        if len(worst) <= self.protect or not self.protect:
            return self
        named = tuple(worst[: self.protect])
        steps = tuple(
            replace(step, **dict.fromkeys(_awaiting(step), named))  # type: ignore[type-var]
            for step in self.steps
        )
        return replace(self, steps=steps)

    def apply(self, model: onnx.ModelProto, context: Context) -> onnx.ModelProto:
        """Apply the steps in order; raises what they raise."""
        for step in self.steps:
            model = step.apply(model, context)
        return model

    def to_data(self) -> list[dict[str, Any]]:
        """The steps as JSON takes them: each one's class, and its settings."""
        return [
            {"step": f"{type(step).__module__}:{type(step).__qualname__}", **_settings(step)}
            for step in self.steps
        ]


def steps_from_data(data: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    """The steps that ``Recipe.to_data`` wrote down."""
    steps = []
    for item in data:
        module, _, name = item["step"].partition(":")
        settings = {
            key: tuple(value) if isinstance(value, list) else value for key, value in item.items()
        }
        del settings["step"]
        steps.append(getattr(importlib.import_module(module), name)(**settings))
    return tuple(steps)


def _settings(step: Step) -> dict[str, Any]:
    return {item.name: getattr(step, item.name) for item in fields(step)}  # type: ignore[arg-type]


def _awaiting(step: Step) -> list[str]:
    """The settings that name nodes once the model's worst are known."""
    return [name for name, value in _settings(step).items() if value == WORST]


def _words(step: Step) -> str:
    settings = {
        item.name: getattr(step, item.name)
        for item in fields(step)  # type: ignore[arg-type]
        if item.default is MISSING or getattr(step, item.name) != item.default
    }
    title = step.title or type(step).__name__
    told = [_setting(name, value) for name, value in settings.items() if f"{{{name}}}" not in title]
    title = title.format(**_settings(step))
    return ": ".join(filter(None, (title, ", ".join(told))))


def _setting(name: str, value: Any) -> str:
    """One setting in plain words: ``block 32``, ``not symmetric``, ``only query, key``."""
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"not {words}"
    if value == WORST:
        return f"{words} the most sensitive nodes"
    if isinstance(value, tuple):
        return f"{words} {', '.join(map(str, value))}"
    return f"{words} {value:,}" if isinstance(value, int) else f"{words} {value}"


def _check_kinds(recipe: str, steps: Sequence[Step]) -> None:
    if repeated := [step for step, count in Counter(steps).items() if count > 1]:
        raise RecipeInvalid(f"recipe {recipe!r} repeats {repeated[0]}; legal: each step once")
    found = [type(step).__name__ for step in steps if step.stage is Stage.INT8]
    if len(found) > 1:
        *others, last = _names_of(Stage.INT8)
        raise RecipeInvalid(
            f"recipe {recipe!r} quantizes twice ({', '.join(found)}); legal: one of "
            f"{', '.join(others)} or {last}"
        )


def _names_of(stage: Stage) -> list[str]:
    """The steps of a stage, the one with the fewest settings first."""
    found = [kind for kind in kinds() if kind.stage is stage]
    return [kind.__name__ for kind in sorted(found, key=lambda kind: len(fields(kind)))]  # type: ignore[arg-type]


def _check_order(recipe: str, steps: Sequence[Step]) -> None:
    for step, following in pairwise(steps):
        first, second = type(step).__name__, type(following).__name__
        if _is_late(step, following):
            raise RecipeInvalid(
                f"recipe {recipe!r} has {second} after {first}; legal: {second} before {first}"
            )
    for step, following in pairwise(steps):
        first, second = type(step).__name__, type(following).__name__
        if step.takes_all and following.stage in (Stage.BLOCKS, Stage.INT8):
            raise RecipeInvalid(
                f"recipe {recipe!r} leaves nothing to {second} after {first} on every node; "
                f"legal: {first}(only=...) before it"
            )


def _is_late(step: Step, following: Step) -> bool:
    """Whether a step stands before one of an earlier stage."""
    if step.stage is None or following.stage is None:
        return False
    return step.stage > following.stage


FP32: Final = Recipe("fp32")
