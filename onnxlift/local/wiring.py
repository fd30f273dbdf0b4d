"""Which function answers which path, as the API's OpenAPI document says it for AWS."""

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from onnxlift_runtime.errors import ConfigInvalid

Handler: TypeAlias = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Binding:
    """One row of the table: paths that match ``pattern`` as a whole go to the function ``function``."""

    pattern: re.Pattern[str]
    function: str


# A model's paths go to that model's function, whether the model exists or not; everything else goes to `control`.
BINDINGS: Final[tuple[Binding, ...]] = (
    Binding(re.compile(r"/v[12]/models/.+", re.DOTALL), "predict"),
    Binding(re.compile(r".*", re.DOTALL), "control"),
)


def function_for(path: str) -> str:
    """The name of the function that answers ``path``."""
    return next(binding.function for binding in BINDINGS if binding.pattern.fullmatch(path))


def load_handlers() -> dict[str, Handler]:
    """The handler of every function in the table; raises ``ConfigInvalid`` outside a clone, where there are none."""
    try:
        return {
            binding.function: importlib.import_module(f"handlers.{binding.function}").handler for binding in BINDINGS
        }
    except ModuleNotFoundError as error:
        if error.name not in {"handlers", *(f"handlers.{binding.function}" for binding in BINDINGS)}:
            raise
        raise ConfigInvalid(
            f"the functions are not installed ({error.name}); run `onnxlift serve` in a clone of onnxlift's repository"
        ) from error
