"""Quality in the model's own terms, one score for each sample, 1 where it answers like fp32; the
gate's metrics too.
"""

from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
_TEXT: Final = 0.3  # where the detector's map counts as text, as its authors have it


def map_iou(reference: Array, answers: Array, _labels: Array | None) -> Array:
    """Intersection over union of the detection maps [samples, 1, height, width]."""
    first, second = (array.reshape(len(array), -1) > _TEXT for array in (reference, answers))
    union = (first | second).sum(1)
    return np.asarray(np.where(union, (first & second).sum(1) / np.maximum(union, 1), 1.0))


def character_accuracy(reference: Array, answers: Array, _labels: Array | None) -> Array:
    """One minus the edits per character of the text [samples, steps, characters] decodes to."""
    pairs = zip(map(decode, reference), map(decode, answers), strict=True)
    return np.array([max(1 - edits(one, two) / max(len(one), 1), 0.0) for one, two in pairs])


def class_agreement(reference: Array, answers: Array, _labels: Array | None) -> Array:
    """1 where the class is the same."""
    same = reference.argmax(-1) == answers.argmax(-1)
    return np.asarray(same.reshape(len(answers)), np.float64)


def decode(steps: Array) -> list[int]:
    """Greedy CTC decoding: repeated characters once, without the blank, which is 0."""
    best = steps.reshape(-1, steps.shape[-1]).argmax(-1)
    kept = np.append(True, best[1:] != best[:-1]) & (best != 0)
    return [int(character) for character in best[kept]]


def edits(first: list[int], second: list[int]) -> int:
    """The Levenshtein distance."""
    row = list(range(len(second) + 1))
    for index, one in enumerate(first, 1):
        above, row[0] = row[0], index
        for place, two in enumerate(second, 1):
            above, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, above + (one != two)),
            )
    return row[-1]
