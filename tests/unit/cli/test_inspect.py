"""``onnxlift inspect``: tables for people, JSON for programs, one line for what cannot be read."""

import io
import json
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import numpy_helper
from rich.console import Console

from onnxlift import cli
from onnxlift.cli.contents import as_tables
from onnxlift.compress.inspect.inspection import inspect
from tests.support import builders
from tests.support.compress.transformer import transformer


def _write(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def _inspect(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["inspect", *arguments])


def test_the_tables_tell_what_is_in_the_file(tmp_path: Path) -> None:
    result = _inspect(str(_write(tmp_path, transformer())))

    assert result.exit_code == 0
    for words in (
        "input_ids",
        "[batch, tokens]",
        "size by operator",
        "MatMul",
        "FLOAT",
        "(estimates from the weights alone)",
        "4-bit matrices and embeddings",
    ):
        assert words in result.stdout


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(tmp_path: Path, width: int) -> None:
    model = transformer()
    model.graph.node[0].name = "a/very/long/name" * 20
    printed = io.StringIO()

    Console(width=width, file=printed).print(as_tables(inspect(_write(tmp_path, model))))

    lines = printed.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any("4-bit matrices and embeddings" in line and "%" in line for line in lines)


def test_json_holds_everything_and_nothing_else_is_printed(tmp_path: Path) -> None:
    path = _write(tmp_path, builders.mlp())

    data = json.loads(_inspect(str(path), "--json").stdout)

    assert data["path"] == str(path)
    assert data["inputs"] == [{"name": "x", "datatype": "FLOAT", "shape": ["batch", 16]}]
    assert {item["family"] for item in data["estimates"]} >= {"int8 matrices", "4-bit matrices"}


def test_an_error_without_end_is_a_word_in_json(tmp_path: Path) -> None:
    model = builders.mlp()
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight.flat[0] = 1e9  # which float16 cannot hold
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(weight, model.graph.initializer[0].name)
    )

    data = json.loads(_inspect(str(_write(tmp_path, model)), "--json").stdout)

    half = next(item for item in data["estimates"] if item["family"].startswith("float16"))
    assert half["error"] == "Infinity"


def test_a_broken_file_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(builders.mlp().SerializeToString()[:-50])

    result = _inspect(str(path))

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == f"{path} is not an ONNX model, or only a part of one\n"


def test_names_out_of_a_model_move_no_cursor_and_are_no_markup(tmp_path: Path) -> None:
    model = builders.linear()
    model.graph.input[0].name = model.graph.node[0].input[0] = "[bold red]x\x1b[2J\x07"

    result = _inspect(str(_write(tmp_path, model)))

    assert "[bold red]x\ufffd[2J\ufffd" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_model_without_weights_is_told_as_such(tmp_path: Path) -> None:
    result = _inspect(str(_write(tmp_path, builders.identity())))

    assert result.exit_code == 0
    assert "Nothing that the recipes store otherwise" in result.stdout
