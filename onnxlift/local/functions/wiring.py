"""Which function answers which path: the same table that the CDK app gives API Gateway."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from onnxlift_runtime.errors import ConfigInvalid
from onnxlift_runtime.http.routes import CONTROL, PREDICT, named_model

Handler: TypeAlias = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]

API_FUNCTIONS: Final = (CONTROL, PREDICT)
JOB_FUNCTIONS: Final = ("batch", "ingest", "notify", "escalate")
FUNCTIONS: Final = (*API_FUNCTIONS, *JOB_FUNCTIONS)


@dataclass(frozen=True, slots=True)
class Wiring:
    """The handler of every function, and the models that have a predict function; ``control``
    answers the rest.
    """

    handlers: Mapping[str, Handler]
    models: frozenset[str]

    def function_for(self, path: str) -> str:
        """The name of the function that answers ``path``."""
        return PREDICT if named_model(path) in self.models else CONTROL


def load_handlers(names: Iterable[str] = FUNCTIONS) -> dict[str, Handler]:
    """The handlers of these functions; raises ``ConfigInvalid`` outside a clone, where there are
    none.
    """
    try:
        return {name: importlib.import_module(f"handlers.{name}").handler for name in names}
    except ModuleNotFoundError as error:
        if error.name not in {"handlers", *(f"handlers.{name}" for name in FUNCTIONS)}:
            raise
        raise ConfigInvalid(
            f"the functions are not installed ({error.name}); run `onnxlift serve` in a clone of "
            f"onnxlift's repository"
        ) from error
