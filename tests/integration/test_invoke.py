"""`onnxlift invoke` against the local service."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from onnxlift.cli import main
from onnxlift.local.process import RunningService

ROW = json.dumps(list(range(16)))


def _invoke(service: RunningService, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["invoke", *arguments, "--url", service.url])


@pytest.mark.parametrize("form", ["--binary", "--no-binary"])
def test_outputs_are_shown_as_a_table_with_datatype_and_shape(
    service: RunningService, form: str
) -> None:
    result = _invoke(service, "linear", "-i", "x=[1,2,3,4]", form)

    assert result.exit_code == 0, result.stderr
    assert "linear version 2: y FP32 [1,3]" in result.stdout


def test_top_shows_the_best_classes_with_labels(service: RunningService) -> None:
    result = _invoke(service, "mlp", "-i", f"x={ROW}", "--top", "2", "--json")

    classes = json.loads(result.stdout)["outputs"]["probabilities"][0]
    assert [found["label"] for found in classes] == ["cat", "cow"]
    assert classes[0]["score"] >= classes[1]["score"]


def test_top_is_a_table_for_people(service: RunningService) -> None:
    result = _invoke(service, "mlp", "-i", f"x={ROW}", "--top", "1")

    assert result.exit_code == 0
    assert "cat" in result.stdout


def test_a_version_is_asked_for_by_name(service: RunningService) -> None:
    first, second = (
        json.loads(
            _invoke(service, "linear", "-i", "x=[1,2,3,4]", "--json", "--version", version).stdout
        )
        for version in ("1", "2")
    )

    assert (first["version"], second["version"]) == ("1", "2")
    assert first["outputs"] != second["outputs"]


def test_several_inputs_of_different_kinds_are_sent_together(
    service: RunningService, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", np.array([[1, 2]], dtype=np.float32))

    result = _invoke(service, "pair", "-i", f"a=@{tmp_path}/a.npy", "-i", "b=hello", "--json")

    assert json.loads(result.stdout)["outputs"] == {"a_out": [[1.0, 2.0]], "b_out": [["hello"]]}


@pytest.mark.parametrize(
    ("model", "value", "expected"),
    [
        ("same-bool", "[[true]]", [[True]]),
        ("same-bf16", "[[1.5]]", [[1.5]]),
        ("same-fp16", "[[0.5]]", [[0.5]]),
    ],
)
def test_special_datatypes_are_shown_as_values(
    service: RunningService, model: str, value: str, expected: object
) -> None:
    result = _invoke(service, model, "-i", f"x={value}", "--json")

    assert json.loads(result.stdout)["outputs"]["y"] == expected


def test_an_output_is_saved_as_it_came(service: RunningService, tmp_path: Path) -> None:
    target = tmp_path / "y.npy"

    result = _invoke(service, "linear", "-i", "x=[1,2,3,4]", "--output", f"y={target}", "--json")

    saved = np.load(target)
    np.testing.assert_array_equal(
        saved, np.array(json.loads(result.stdout)["outputs"]["y"], dtype=np.float32)
    )


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("absent", "-i", "x=1"), 1, "the service answered 404: model 'absent' does not exist"),
        (("linear", "-i", "z=1"), 1, "no input 'z'; its inputs: 'x'"),
        (("linear", "-i", "x=[1]"), 1, "has shape [1,1], the model takes [-1,4]"),
        (("pair", "-i", "b=x"), 1, "the service answered 400: input 'a' is missing"),
        (("linear", "-i", "x"), 2, "'x' is not NAME=VALUE"),
        (("linear", "-i", "x=1", "-i", "x=2"), 2, "'x' is given more than once"),
        (("linear", "-i", "x=[1,2,3,4]", "-o", "z=z.npy"), 2, "no output 'z'; it has: y"),
        (("linear", "-i", "x=[1,2,3,4]", "-o", "y=y.npy", "--top", "1"), 2, "use one of them"),
        (("same-bytes", "-i", 'x=[["a"]]', "--top", "1"), 2, "no output with scores"),
        (("linear",), 2, "Missing option"),
    ],
)
def test_what_goes_wrong_is_one_clear_message(
    service: RunningService, arguments: tuple[str, ...], code: int, told: str
) -> None:
    result = _invoke(service, *arguments)

    assert result.exit_code == code
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_a_server_that_is_down_is_told_with_the_way_out() -> None:
    result = CliRunner().invoke(
        main, ["invoke", "linear", "-i", "x=1", "--url", "http://127.0.0.1:1"]
    )

    assert result.exit_code == 1
    assert "no answer from http://127.0.0.1:1" in result.stderr
    assert "`onnxlift serve`" in result.stderr
