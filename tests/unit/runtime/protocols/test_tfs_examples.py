"""The examples of TensorFlow Serving's classify and regress."""

import json
from typing import Any

import pytest

from onnxlift_runtime.errors import InputMismatch, MalformedRequest, ShapeMismatch
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.protocols import tfs
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors import arrays
from tests.support import builders
from tests.support.errors import raises

PAIR = builders.manifest(
    (builders.spec("a", "FP32", (-1, 2)), builders.spec("b", "BYTES", (-1,))), name="pair"
)


def examples(document: Any, manifest: Manifest = PAIR) -> dict[str, Any]:
    inputs = tfs.decode_examples(json.dumps(document).encode(), manifest, Limits())
    return {found.name: arrays.decode(found).tolist() for found in inputs}


def test_examples_become_rows_of_every_input() -> None:
    found = examples({"examples": [{"a": [1, 2], "b": "t"}, {"a": [3, 4], "b": ["u"]}]})

    assert found == {"a": [[1, 2], [3, 4]], "b": [b"t", b"u"]}


def test_the_context_is_part_of_every_example() -> None:
    found = examples({"context": {"b": "c"}, "examples": [{"a": [1, 2]}, {"a": [3, 4]}]})

    assert found["b"] == [b"c", b"c"]


def test_a_flat_feature_takes_the_shape_that_the_input_declares() -> None:
    grid = builders.manifest((builders.spec("g", "FP32", (-1, -1, 2)),))

    assert examples({"examples": [{"g": [1, 2, 3, 4]}]}, grid) == {"g": [[[1, 2], [3, 4]]]}


@pytest.mark.parametrize(
    ("document", "data"),
    [
        ({}, ("'examples'", "null")),
        ({"examples": []}, ("'examples'", "empty")),
        ({"examples": [7]}, ("example", "whole number")),
        ({"examples": [{"a": [1, 2]}]}, ("'b'",)),
        (
            {"context": {"b": "c"}, "examples": [{"a": [1, 2], "b": "t"}]},
            ("'b'", "'context'"),
        ),
        ({"context": [], "examples": [{}]}, ("'context'", "array")),
        ({"examples": [{"a": [1, 2], "b": ["t", "u"]}]}, ("shape",)),
    ],
)
def test_wrong_examples_are_refused(document: Any, data: tuple[object, ...]) -> None:
    with raises((MalformedRequest, InputMismatch), *data):
        examples(document)


def test_a_feature_that_does_not_fill_its_shape_is_refused() -> None:
    grid = builders.manifest((builders.spec("g", "FP32", (-1, -1, 2)),))

    with raises(ShapeMismatch, "'g'", 3, "[-1, 2]"):
        examples({"examples": [{"g": [1, 2, 3]}]}, grid)
