"""Several calls as one inference: answers equal those of single runs, and a bad input fails by
itself.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.dataplane.batching import Feed, run_together
from onnxlift_runtime.errors import InputMismatch, ModelUnavailable, OnnxliftError
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.tensors.arrays import Array
from tests.support.builders import manifest, spec

LIMIT = 8


class Doubler:
    """Doubles ``x``, refuses negative rows, and remembers the batches it was given."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(
        self, _manifest: Manifest, arrays: Mapping[str, Array], outputs: Sequence[str]
    ) -> dict[str, Array]:
        self.batches.append(len(arrays["x"]))
        if (arrays["x"] < 0).any():
            raise InputMismatch("negative")
        return dict.fromkeys(outputs, arrays["x"] * 2)


def model(max_batch_size: int = LIMIT) -> Manifest:
    return manifest(
        inputs=(spec("x", "FP32", (-1, -1)),),
        outputs=(spec("y", "FP32", (-1, -1)),),
        max_batch_size=max_batch_size,
    )


def feed(array: Array, of: Manifest | None = None) -> Feed:
    return Feed(of or model(), {"x": array}, ("y",))


@given(st.lists(st.tuples(st.integers(1, LIMIT), st.integers(1, 3)), max_size=12))
def test_joined_answers_equal_single_ones_for_any_composition(
    shapes: list[tuple[int, int]],
) -> None:
    arrays = [np.full(shape, index + 1, np.float32) for index, shape in enumerate(shapes)]
    doubler = Doubler()

    answers = run_together([feed(array) for array in arrays], doubler.run)

    assert len(answers) == len(arrays)
    for array, answer in zip(arrays, answers, strict=True):
        assert isinstance(answer, dict)
        np.testing.assert_array_equal(answer["y"], array * 2)
    assert all(batch <= LIMIT for batch in doubler.batches)


def test_calls_of_one_shape_run_as_one() -> None:
    doubler = Doubler()

    run_together([feed(np.ones((2, 3), np.float32))] * 4, doubler.run)

    assert doubler.batches == [8]


def test_a_bad_input_fails_alone() -> None:
    good, bad = np.ones((1, 2), np.float32), -np.ones((1, 2), np.float32)

    answers = run_together([feed(good), feed(bad), feed(good)], Doubler().run)

    assert isinstance(answers[1], OnnxliftError)
    assert [isinstance(answer, dict) for answer in answers] == [True, False, True]


def test_a_model_without_batches_runs_each_call_alone() -> None:
    doubler, single = Doubler(), model(max_batch_size=0)

    run_together([feed(np.ones((2, 2), np.float32), single)] * 3, doubler.run)

    assert doubler.batches == [2, 2, 2]


@pytest.mark.parametrize("shape", [(), (3,)])
def test_an_output_without_rows_makes_each_call_run_alone(shape: tuple[int, ...]) -> None:
    runs: list[int] = []

    def run(
        _manifest: Manifest, arrays: Mapping[str, Array], _outputs: Sequence[str]
    ) -> dict[str, Array]:
        runs.append(len(arrays["x"]))
        return {"y": np.full(shape, len(arrays["x"]), np.float32)}

    answers = run_together([feed(np.ones((2, 2), np.float32))] * 2, run)

    assert runs == [4, 2, 2]
    assert all(isinstance(answer, dict) and (answer["y"] == 2).all() for answer in answers)


def test_a_failure_that_may_pass_is_the_answer_to_all_and_is_not_tried_for_each() -> None:
    tried: list[int] = []

    def run(
        _manifest: Manifest, arrays: Mapping[str, Array], _outputs: Sequence[str]
    ) -> dict[str, Array]:
        tried.append(len(arrays["x"]))
        raise ModelUnavailable("loading")

    answers = run_together([feed(np.ones((rows, 1), np.float32)) for rows in (1, 2, 3)], run)

    assert [str(answer) for answer in answers] == ["loading"] * 3
    assert tried == [6]
