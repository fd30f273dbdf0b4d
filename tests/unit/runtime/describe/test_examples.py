import json
import subprocess
import sys

import pytest

from onnxlift_runtime.describe import examples
from tests.support import builders

PAIR = builders.manifest(
    [builders.spec("it's", "BYTES", (-1,)), builders.spec('"ids" é', "BOOL", (-1, -1))]
)


def test_infer_command_makes_the_same_request_as_the_example() -> None:
    command = examples.infer_command(PAIR, "/v2/models/tiny/infer", api_key=False)

    program, _, call = command.partition("|\n")
    program = program.replace("python3", sys.executable, 1)
    printed = subprocess.run(
        ["/bin/sh", "-c", program], capture_output=True, check=True, text=True
    ).stdout

    assert json.loads(printed) == examples.infer_example(PAIR)
    assert (
        call.strip()
        == 'curl -s -H "content-type: application/json" -d @- "$URL/v2/models/tiny/infer"'
    )


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((-1, 3), [1, 3]), ((-1, -1), [1, 8]), ((2, -1), [2, 8]), ((), []), ((0, 4), [0, 4])],
)
def test_example_shape_fills_variable_dimensions(
    shape: tuple[int, ...], expected: list[int]
) -> None:
    spec = builders.spec("x", "FP32", shape)

    assert examples.example_shape(spec, builders.manifest([spec], max_batch_size=0)) == expected


def test_predict_example_gives_columns_when_the_model_has_no_batch() -> None:
    scalar = builders.manifest([builders.spec("x", "FP32", ())], max_batch_size=0)

    assert examples.predict_example(scalar) == {"inputs": 0.5}


def test_predict_example_names_inputs_when_there_are_several() -> None:
    pair = builders.manifest(
        [builders.spec("a", "INT8", (-1, 2)), builders.spec("b", "BYTES", (-1,))]
    )

    assert examples.predict_example(pair) == {"instances": [{"a": [1, 1], "b": "text"}]}
    assert examples.features_example(pair) == {"examples": [{"a": [1, 1], "b": "text"}]}
