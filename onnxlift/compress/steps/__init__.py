"""Steps: one change to a graph each, one file each, all of one shape.

A step is a frozen dataclass whose fields are its settings. ``apply`` takes a model and a
``Context`` and returns a new model; it never changes the one it was given. A step that cannot work
on this model raises ``RecipeInvalid``. One that cannot work without calibration samples has a
property ``needs_samples``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import onnx

from onnxlift.compress.steps.cache import Stock


@dataclass(frozen=True)
class Context:
    """What a step may look at: calibration samples (samples first, one array per input) and the
    target CPU.

    ``origin`` is the model whose activations rounding goes by, where that is not the one that a
    step is given: what other steps stored in few bits then changes nothing in how the rest is
    stored, and ``stock`` can keep it.
    """

    samples: Mapping[str, np.ndarray] = field(default_factory=dict)
    architecture: str = "x86_64"
    origin: onnx.ModelProto | None = None
    stock: Stock = field(default_factory=Stock)


@runtime_checkable
class Step(Protocol):
    """One change to a graph: frozen settings, and ``apply``."""

    def apply(self, model: onnx.ModelProto, context: Context) -> onnx.ModelProto:
        """Return a changed copy of ``model``."""
        ...
