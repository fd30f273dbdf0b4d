"""What must hold before a search begins, so that the gate's verdict on its candidates means
something.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from onnxlift.compress.gate.metrics import classes
from onnxlift.compress.model.answers import is_uneven
from onnxlift.compress.model.reading import walk
from onnxlift.compress.model.samples import Array, Samples
from onnxlift_runtime.errors import ModelRefused, SamplesInvalid

_RANDOM: Final = frozenset(
    (
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    )
)
_MOST_NAMED: Final = 5
# Fewer samples may be wrong by chance.
_ENOUGH: Final = 20


def require_steady(model: onnx.ModelProto, outputs: Sequence[str]) -> None:
    """Refuse a model whose ``outputs`` differed between two runs on the same input; raises
    ``ModelRefused`` that names the nodes.
    """
    if not outputs:
        return
    nodes = [f"{node.name or node.output[0]!r} ({node.op_type})" for node in random_nodes(model)]
    more = f" and {len(nodes) - _MOST_NAMED} more" if len(nodes) > _MOST_NAMED else ""
    origin = f": {', '.join(nodes[:_MOST_NAMED])}{more}" if nodes else ""
    raise ModelRefused(
        f"the model was run twice on the same input and gave other answers in "
        f"{', '.join(map(repr, outputs))}, so no candidate can be compared with it{origin}; make "
        f"the random tensor an input of the model, or export it for inference"
    )


def random_nodes(model: onnx.ModelProto) -> tuple[onnx.NodeProto, ...]:
    """The nodes that draw random numbers, wherever they are."""
    return tuple(node for node in walk(model, onnx.NodeProto) if _is_random(node))


def _is_random(node: onnx.NodeProto) -> bool:
    trains = node.op_type == "Dropout" and len(node.input) > 2 and bool(node.input[2])
    return node.domain in ("", "ai.onnx") and (node.op_type in _RANDOM or trains)


def unsteady(first: Mapping[str, Array], second: Mapping[str, Array]) -> list[str]:
    """The outputs that two runs on the same input disagree on."""
    return [name for name, array in first.items() if not _alike(array, second[name])]


def _alike(first: Array, second: Array) -> bool:
    if first.shape != second.shape or first.dtype.kind != "f":
        return np.array_equal(first, second)
    return np.allclose(first, second, rtol=1e-3, atol=1e-5, equal_nan=True)


def require_telling(samples: Samples, path: Path) -> None:
    """Refuse samples that are all equal; raises ``SamplesInvalid``."""
    if len(samples) > 1 and len(set(samples.digests())) == 1:
        raise SamplesInvalid(f"{path}: all {len(samples)} samples are equal; they tell nothing")


def require_numbers_only(samples: Samples, path: Path) -> None:
    """Refuse NaN and infinities in calibration samples, which would become ranges; raises
    ``SamplesInvalid``.
    """
    for name, column in samples.arrays.items():
        for row, array in enumerate(column):
            if np.asarray(array).dtype.kind == "f" and not np.isfinite(array).all():
                raise SamplesInvalid(
                    f"{path}: array {name!r} holds NaN or infinity in sample {row}; steps take "
                    f"the ranges of activations from these samples"
                )


def class_numbers(labels: Array, names: Sequence[str], path: Path) -> Array:
    """Labels that are class names as class numbers; others unchanged.

    Raises ``SamplesInvalid`` where a label is no name of a class.
    """
    if labels.dtype.kind not in "US" or not names:
        return labels
    words = np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels
    known = {name: number for number, name in enumerate(names)}
    if unknown := sorted(set(words.ravel().tolist()) - set(known)):
        raise SamplesInvalid(
            f"{path}: the label {unknown[0]!r} is none of the {len(names)} configured classes"
        )
    return np.asarray(np.vectorize(known.__getitem__, otypes=[np.int64])(words))


def require_possible(labels: Array, answers: Array) -> None:
    """Refuse labels that no class of the model can equal; raises ``SamplesInvalid``."""
    if is_uneven(answers):
        return
    found = classes(answers)
    if (labels.dtype.kind in "US") != (found.dtype.kind == "S"):
        raise SamplesInvalid(
            f"the labels are {_kind(labels)} such as {labels.flat[0]!r}, the model's classes are "
            f"{_kind(found)} such as {found.flat[0]!r}; name the classes in models.NAME.classes, "
            f"or store the labels in the same form"
        )
    if labels.dtype.kind in "US" or answers.dtype.kind != "f":
        return
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.round(labels)):
        raise SamplesInvalid("the labels are no whole numbers, classes are counted from 0")
    count = answers.shape[-1]
    if labels.min() < 0 or labels.max() >= count:
        raise SamplesInvalid(
            f"the labels go from {labels.min():g} to {labels.max():g}, the model's {count} classes "
            f"are counted from 0 to {count - 1}"
        )


def require_above_chance(accuracy: float, labels: Array) -> None:
    """Refuse labels that the fp32 model meets no better than guesses would; raises
    ``SamplesInvalid``.
    """
    present = len(np.unique(labels))
    guessed = 1 / present
    if present < 2 or accuracy > guessed or (accuracy > 0 and len(labels) < _ENOUGH):
        return
    raise SamplesInvalid(
        f"the fp32 model's accuracy is {accuracy:.4f}, guessing among {present} classes gives "
        f"{guessed:.4f}; are these the labels of these samples, in the model's order of classes?"
    )


def _kind(values: Array) -> str:
    return "text" if values.dtype.kind in "US" else "numbers"
