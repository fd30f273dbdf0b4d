"""Recipes: ordered steps under a name, listed for each target from the most to the least preferred."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import onnx

from onnxlift.compress.steps import Context, Step
from onnxlift.compress.steps.clean import Clean
from onnxlift.compress.steps.int8_dynamic import Int8Dynamic
from onnxlift.compress.steps.int8_static import Int8Static
from onnxlift_runtime.errors import RecipeInvalid

_QUANTIZING: Final = (Int8Dynamic, Int8Static)


@dataclass(frozen=True)
class Recipe:
    """Named steps, applied in order; no steps is the model as it came."""

    name: str
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        found = [type(step).__name__ for step in self.steps if isinstance(step, _QUANTIZING)]
        if len(found) > 1:
            legal = " or ".join(kind.__name__ for kind in _QUANTIZING)
            raise RecipeInvalid(f"recipe {self.name!r} quantizes twice ({', '.join(found)}); legal: one of {legal}")
        if repeated := [step for step, count in Counter(self.steps).items() if count > 1]:
            raise RecipeInvalid(f"recipe {self.name!r} repeats {repeated[0]}; legal: each step once")

    @property
    def needs_samples(self) -> bool:
        """Whether a step looks at calibration samples."""
        return any(isinstance(step, Int8Static) for step in self.steps)

    def apply(self, model: onnx.ModelProto, context: Context) -> onnx.ModelProto:
        """Apply the steps in order; raises what they raise."""
        for step in self.steps:
            model = step.apply(model, context)
        return model


FP32: Final = Recipe("fp32")


def x86_64() -> tuple[Recipe, ...]:
    """Recipes for Lambda on x86_64, which promises AVX2 alone: 7-bit weights cannot saturate there.

    Static before dynamic: nothing is quantized while the model runs.
    """
    return (
        Recipe("int8-static", (Clean(), Int8Static("minmax"))),
        Recipe("int8-static-entropy", (Clean(), Int8Static("entropy"))),
        Recipe("int8-static-percentile", (Clean(), Int8Static("percentile"))),
        Recipe("int8-dynamic", (Clean(), Int8Dynamic())),
        FP32,
    )


def arm64() -> tuple[Recipe, ...]:
    """Recipes for Lambda on arm64, whose dot products sum in 32 bits and take signed activations."""

    def static(method: str) -> Int8Static:
        return Int8Static(method, activation_type="int8", reduce_range=False)  # type: ignore[arg-type]

    return (
        Recipe("int8-static", (Clean(), static("minmax"))),
        Recipe("int8-static-entropy", (Clean(), static("entropy"))),
        Recipe("int8-static-percentile", (Clean(), static("percentile"))),
        Recipe("int8-dynamic", (Clean(), Int8Dynamic(reduce_range=False))),
        FP32,
    )


PRESETS: Final[Mapping[str, Callable[[], tuple[Recipe, ...]]]] = {"x86_64": x86_64, "arm64": arm64}


def recipes(architecture: str) -> tuple[Recipe, ...]:
    """All recipes for a target, the preferred first; raises ``RecipeInvalid`` for a target nobody knows."""
    if architecture not in PRESETS:
        raise RecipeInvalid(f"there are no recipes for {architecture!r}; there are for {', '.join(PRESETS)}")
    return PRESETS[architecture]()


def recipe(name: str, architecture: str) -> Recipe:
    """The recipe of this name for a target; raises ``RecipeInvalid`` that names the legal ones."""
    known = {item.name: item for item in recipes(architecture)}
    if name not in known:
        raise RecipeInvalid(f"there is no recipe {name!r} for {architecture}; legal: auto, {', '.join(known)}")
    return known[name]
