"""A channel that a candidate no longer answers is found, whatever scale its neighbours have."""

from collections.abc import Callable

import numpy as np
import pytest

from onnxlift.compress.gate.columns import lost_channel

RANDOM = np.random.default_rng(7)
BOXES = RANDOM.uniform(0, 320, (40, 30, 4)).astype(np.float32)
SCORES = RANDOM.uniform(0, 1, (40, 30, 2)).astype(np.float32)
DETECTIONS = np.concatenate([BOXES, SCORES], axis=2)


def _quantized(values: np.ndarray, steps: int = 127) -> np.ndarray:
    scale = np.abs(values).max() / steps
    return np.asarray(np.round(values / scale) * scale, values.dtype)


def test_equal_answers_lose_nothing() -> None:
    assert lost_channel(DETECTIONS, DETECTIONS) == ""


@pytest.mark.parametrize("turn", [lambda array: array, lambda array: array.transpose(0, 2, 1)])
def test_scores_beside_boxes_that_become_zero_are_lost(
    turn: Callable[[np.ndarray], np.ndarray],
) -> None:
    answers = _quantized(DETECTIONS)
    assert not answers[..., 4:].any(), "one scale for boxes and scores leaves no score"

    assert lost_channel(turn(DETECTIONS), turn(answers)).startswith("channel 4 of axis")


def test_scores_in_another_order_are_lost() -> None:
    answers = np.concatenate([BOXES, RANDOM.permutation(SCORES)], axis=2)

    assert "rank correlation" in lost_channel(DETECTIONS, answers)


def test_a_monotone_change_keeps_a_channel() -> None:
    assert lost_channel(SCORES, SCORES**9) == ""


def test_what_stands_still_in_fp32_cannot_be_lost() -> None:
    still = np.concatenate([BOXES, 0.3 + 1e-4 * SCORES], axis=2)
    answers = still.copy()
    answers[..., 4:] = 0.3

    assert lost_channel(still, answers) == ""


def test_probabilities_that_are_never_likely_may_be_rounded_to_zero() -> None:
    logits = RANDOM.normal(size=(50, 10)) * 3
    logits[:, 3] -= 12
    likely = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    answers = np.round(likely * 255) / 255
    assert not answers[:, 3].any()

    assert lost_channel(likely, answers) == ""


@pytest.mark.parametrize(
    ("reference", "answers", "lost"),
    [
        (np.arange(12.0), np.zeros(12), True),
        (np.arange(12.0), np.arange(12.0), False),
        (np.arange(12), np.full(12, 3), True),
        (np.arange(12), np.arange(12) % 3, False),
        (np.array([b"a", b"b"]), np.array([b"b", b"b"]), True),
        (np.empty((0, 3)), np.empty((0, 3)), False),
        (np.array([[np.inf, 1], [2, 3]]), np.array([[np.inf, 1], [2, 3]]), False),
    ],
)
def test_any_kind_of_answer_is_compared(
    reference: np.ndarray, answers: np.ndarray, lost: bool
) -> None:
    assert (lost_channel(reference, answers) != "") == lost


@pytest.mark.parametrize("turn", [(0, 1, 2, 3), (0, 2, 3, 1)])
def test_places_of_a_picture_are_no_channels(turn: tuple[int, ...]) -> None:
    """Rows without text hardly vary, and may be rounded to zero."""
    pictures = RANDOM.normal(size=(6, 2, 40, 40))
    pictures[:, :, :5] *= 1e-3
    answers = _quantized(pictures)
    assert not answers[:, :, :5].any()

    assert lost_channel(pictures.transpose(turn), answers.transpose(turn)) == ""
    answers[:, 1] = 0
    assert "channel 1" in lost_channel(pictures.transpose(turn), answers.transpose(turn))


def test_the_channels_of_a_long_axis_are_sampled() -> None:
    wide = RANDOM.normal(size=(30, 3000))
    answers = wide.copy()
    answers[:, 1000:2000] = 0

    place = int(lost_channel(wide, answers).split()[1])
    assert 1000 <= place < 2000
