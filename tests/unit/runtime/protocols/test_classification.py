from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxlift_runtime.errors import InputMismatch
from onnxlift_runtime.protocols.classification import classify, regress, top_classes
from onnxlift_runtime.tensors.arrays import float32_to_bfloat16
from tests.support import builders
from tests.support.errors import raises

SPEC = builders.spec("y", "FP32", (-1, 3), ("a", "b", "c"))


def texts(array: Any, spec: Any = SPEC, count: int = 2, *, batched: bool = True) -> Any:
    return top_classes(np.array(array), spec, count, batched=batched).tolist()


def test_the_best_classes_come_first_with_value_index_and_label() -> None:
    assert texts([[0.25, 0.5, 0.125]]) == [[b"0.500000:1:b", b"0.250000:0:a"]]


def test_equal_scores_keep_their_order_and_nan_comes_last() -> None:
    assert texts([[np.nan, 1.0, 1.0]], count=3) == [[b"1.000000:1:b", b"1.000000:2:c", b"nan:0:a"]]


def test_more_classes_than_there_are_give_all_of_them() -> None:
    assert len(texts([[1.0, 2.0, 3.0]], count=10**18)[0]) == 3


def test_an_output_without_batch_gives_one_row() -> None:
    assert texts([1.0, 2.0, 3.0], count=1, batched=False) == [b"3.000000:2:c"]


def test_an_empty_batch_gives_no_rows() -> None:
    assert top_classes(np.zeros((0, 3), np.float32), SPEC, 2, batched=True).shape == (0, 2)


def test_a_row_for_each_example_gives_one_class_each() -> None:
    assert texts([4.0, 2.0], builders.spec("y", "FP32", (-1,))) == [
        [b"4.000000:0"],
        [b"2.000000:0"],
    ]


@pytest.mark.parametrize(
    ("name", "values", "best"),
    [
        ("UINT64", np.array([[1, 2**64 - 1]], np.uint64), b"18446744073709551615:1"),
        ("INT64", np.array([[-(2**63), -1]], np.int64), b"-1:1"),
        ("UINT8", np.array([[0, 255]], np.uint8), b"255:1"),
        ("BOOL", np.array([[False, True]]), b"1:1"),
        ("BF16", float32_to_bfloat16(np.array([[-1.0, 0.5]])), b"0.500000:1"),
    ],
)
def test_scores_of_any_number_type_are_compared_exactly(
    name: str, values: Any, best: bytes
) -> None:
    assert texts(values, builders.spec("y", name, (-1, 2)), 1) == [[best]]


@given(arrays.arrays(np.int32, (2, 5)), st.integers(1, 6))
def test_classes_are_the_sorted_scores(scores: Any, count: int) -> None:
    found = top_classes(scores, builders.spec("y", "INT32", (-1, 5)), count, batched=True)

    values = [[int(text.split(b":")[0]) for text in row] for row in found]
    assert values == [sorted(row.tolist(), reverse=True)[:count] for row in scores]


def test_text_cannot_be_classified() -> None:
    with raises(InputMismatch, "'y'", "BYTES"):
        top_classes(
            np.array([[b"a"]], object), builders.spec("y", "BYTES", (-1, 1)), 1, batched=True
        )


def test_classify_tells_every_label_with_its_score_in_the_fewest_digits() -> None:
    scores = np.array([[0.1, 0.7, 0.2]], np.float32)

    found = classify({"y": scores}, builders.manifest(outputs=[SPEC]))

    assert found == [[["a", 0.1], ["b", 0.7], ["c", 0.2]]]


def test_classify_counts_classes_that_have_no_names() -> None:
    found = classify(
        {"y": np.ones((1, 2))}, builders.manifest(outputs=[builders.spec("y", "FP64", (-1, 2))])
    )

    assert found == [[["0", 1.0], ["1", 1.0]]]


def test_classify_prefers_the_output_with_labels() -> None:
    outputs = [builders.spec("z", "FP32", (-1, 2)), SPEC]
    arrays_by_name = {"z": np.zeros((1, 2), np.float32), "y": np.ones((1, 3), np.float32)}

    assert len(classify(arrays_by_name, builders.manifest(outputs=outputs))[0]) == 3


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_regress_tells_one_value_for_each_example(shape: tuple[int, ...]) -> None:
    values = np.array([0.1, 0.2], np.float32).reshape([2, *shape[1:]])

    found = regress({"y": values}, builders.manifest(outputs=[builders.spec("y", "FP32", shape)]))

    assert found == [0.1, 0.2]


@pytest.mark.parametrize("ask", [classify, regress])
def test_a_model_without_such_an_output_says_to_predict(ask: Any) -> None:
    with raises(InputMismatch, ":predict"):
        ask({}, builders.manifest(outputs=[builders.spec("y", "INT64", (-1, 2))]))
