"""What calibration sees: runs of the right size, text without its padding."""

import numpy as np
import pytest

from onnxlift.compress.calibration.activations import feeds, observe, unpadded
from onnxlift_runtime.errors import SamplesInvalid
from tests.support import builders
from tests.support.compress.transformer import samples, transformer
from tests.support.errors import raises


def test_text_runs_one_by_one_without_its_padding() -> None:
    given = samples(count=5)

    seen = list(observe(transformer(), ["start"], given))

    lengths = given["attention_mask"].sum(axis=1)
    assert [run["start"].shape for run in seen] == [(1, length, 32) for length in lengths]


def test_other_inputs_run_32_rows_at_a_time_and_then_the_rest() -> None:
    rows = np.zeros((70, 16), np.float32)

    counts = [len(feed["x"]) for feed in feeds(builders.mlp(), {"x": rows})]

    assert counts == [32, 32, 6]


def test_text_runs_together_where_rows_are_asked_for() -> None:
    given = samples(count=5)

    seen = list(feeds(transformer(), given, 2))

    lengths = given["attention_mask"].sum(axis=1)
    assert [run["input_ids"].shape for run in seen] == [
        (2, max(lengths[:2])), (2, max(lengths[2:4])), (1, lengths[4]),
    ]  # fmt: skip


@pytest.mark.parametrize("fixed", [4, 32])
def test_a_model_with_a_fixed_batch_leaves_the_rest_out(fixed: int) -> None:
    model = builders.identity(shape=(fixed, 2))

    counts = [
        len(feed["x"]) for feed in feeds(model, {"x": np.zeros((2 * fixed + 1, 2), np.float32)}, 3)
    ]

    assert counts == [fixed, fixed]


def test_a_model_with_a_fixed_batch_gets_that_batch() -> None:
    model = builders.identity(shape=(4, 2))

    counts = [len(feed["x"]) for feed in feeds(model, {"x": np.zeros((10, 2), np.float32)})]

    assert counts == [4, 4]


def test_missing_samples_name_the_input() -> None:
    with raises(SamplesInvalid, "'x'"):
        list(feeds(builders.mlp(), {}))


def test_inputs_of_another_width_keep_their_columns() -> None:
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    feed = {"attention_mask": mask, "input_ids": mask * 7, "image": np.zeros((2, 9, 9))}

    cut = unpadded(feed)

    assert {name: value.shape for name, value in cut.items()} == {
        "attention_mask": (2, 2),
        "input_ids": (2, 2),
        "image": (2, 9, 9),
    }
