"""The metric of a name, one of ours or a function of the user's."""

import importlib
import math
import re
import sys
from typing import Final

import numpy as np

from onnxlift.compress.gate.metrics import METRICS, Metric, Statistic, mean_of, top_agreement
from onnxlift.compress.gate.uneven import adapted
from onnxlift.compress.model.samples import Array
from onnxlift_runtime.errors import ConfigInvalid, SamplesInvalid

_TOP: Final = re.compile(r"top(\d+)_agreement")
_SHARES: Final = ("accuracy", "f1", "nearest_neighbour_agreement")


def find_metric(name: str) -> Metric:
    """The metric of this name, or the user's ``module:function``; raises ``ConfigInvalid``."""
    return adapted(name, _found(name))


def _found(name: str) -> Metric:
    if name in METRICS:
        return METRICS[name]
    if found := _TOP.fullmatch(name):
        return lambda reference, answers, _labels: top_agreement(reference, answers, int(found[1]))
    return _of_the_user(name)


def is_share(name: str) -> bool:
    """Whether a metric counts samples that are right."""
    return name in _SHARES or _TOP.fullmatch(name) is not None


def _of_the_user(name: str) -> Metric:
    """A function of (reference, answers, labels) that returns a score for each sample, higher where
    it is better.

    Its module is looked for in the current folder too.
    """
    module, _, function = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        scores = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigInvalid(f"metric {name!r} cannot be imported: {error}") from error

    def metric(reference: Array, answers: Array, labels: Array | None) -> Statistic:
        try:
            found = np.asarray(scores(reference, answers, labels))
        except Exception as error:
            raise SamplesInvalid(
                f"metric {name!r} raised {type(error).__name__}: {error}"
            ) from error
        if found.shape != (len(answers),) or found.dtype.kind not in "fiub":
            raise SamplesInvalid(
                f"metric {name!r} returned {found.dtype} {list(found.shape)}, one number for each "
                f"sample was expected"
            )
        if not all(map(math.isfinite, found)):
            raise SamplesInvalid(f"metric {name!r} returned a score that is no number")
        return mean_of(found)

    return metric
