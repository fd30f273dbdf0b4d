"""Steps: one change to a graph each, one file each, all of one shape.

A step says all about itself, so that adding one is adding its file: ``Step`` has what recipes, the
search and the report ask, with defaults for a step that needs none of it. Nobody outside asks for a
step's class.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar

import numpy as np
import onnx

from onnxlift.compress.calibration.moments import Moments
from onnxlift.compress.graph.editing import Graph
from onnxlift.compress.results import NodeSensitivity
from onnxlift.compress.steps.cache import WeightCache


class Stage(IntEnum):
    """What a step leaves to others: nothing, or nothing it understands, to one of an earlier stage.

    A recipe has at most one step of the stage ``INT8``.
    """

    CLEAN = 0
    SMOOTH = 1
    BLOCKS = 2
    INT8 = 3


@dataclass(frozen=True)
class Context:
    """What a step may look at: calibration samples (samples first, one array per input) and the
    target CPU.

    ``origin`` is the model whose activations rounding goes by, where that is not the one that a
    step is given: what other steps stored in few bits then changes nothing in how the rest is
    stored, and ``cache`` can keep it. ``notes`` take what a reader must know of how a step ended.
    """

    samples: Mapping[str, np.ndarray] = field(default_factory=dict)
    architecture: str = "x86_64"
    origin: onnx.ModelProto | None = None
    cache: WeightCache = field(default_factory=WeightCache)
    notes: list[str] = field(default_factory=list)


class Step(ABC):
    """One change to a graph; a subclass is a frozen dataclass whose fields are its settings.

    ``title`` names it in the report and may hold settings in braces; empty is the class's name.
    ``stage`` is None where it may stand anywhere. ``prepares`` marks an exact change that takes
    long and is the same in many recipes. ``stores`` marks one that stores weights one by one, each
    the same whatever the others are; with ``multiplies`` its kernels multiply in ``precision``, and
    only recipes that multiply alike are equally quick. ``trait`` names the trait
    (``recipes.traits``) of the graphs that it works on; presets leave it out for others.
    """

    title: ClassVar[str] = ""
    stage: ClassVar[Stage | None] = None
    prepares: ClassVar[bool] = False
    stores: ClassVar[bool] = False
    multiplies: ClassVar[bool] = False
    trait: ClassVar[str] = ""

    @abstractmethod
    def apply(self, model: onnx.ModelProto, context: Context) -> onnx.ModelProto:
        """Return a changed copy of ``model``, which stays as it is.

        Raises ``RecipeInvalid`` where the step cannot work on this model.
        """

    @property
    def needs_samples(self) -> bool:
        """Whether it looks at calibration samples."""
        return False

    @property
    def takes_all(self) -> bool:
        """Whether it leaves no projection to a step that stores or quantizes them after it."""
        return False

    @property
    def precision(self) -> str:
        """The precision that it stores weights in, by which sensitivity knows their errors."""
        return ""

    @property
    def kept_share(self) -> float:
        """The share of a float32 weight's bytes that is left."""
        return 1.0

    def reaches(self, _node: NodeSensitivity) -> bool:
        """Whether it stores the weights of a node, where no step before it did."""
        return False

    def is_predictable(self, _steps: Sequence["Step"]) -> bool:
        """Whether it loses, in a recipe of these steps, what the nodes that it reaches lose alone
        in its precision.
        """
        return self.prepares or self.stores

    def restored(
        self, _graph: Graph, _node: str, _moments: Moments, _cache: WeightCache
    ) -> np.ndarray:
        """The weights of one node as they are after this step alone, in the shape of the node's.

        ``_moments`` are those of the inputs of the graph's projections.
        """
        raise NotImplementedError(f"{type(self).__name__} stores no weights one by one")


def kinds() -> tuple[type[Step], ...]:
    """Every step of this package, in the order of their modules."""
    names = (f"{__name__}.{item.name}" for item in pkgutil.iter_modules(__path__))
    return tuple(
        kind
        for module in map(importlib.import_module, names)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Step) and kind.__module__ == module.__name__
    )
