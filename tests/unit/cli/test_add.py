"""``onnxlift add`` writes a table that loads, and ``compress`` takes a file by itself."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import helper

from onnxlift.cli import main
from onnxlift.config import load_config
from onnxlift_runtime.manifest import read_manifest
from tests.support import builders


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _store(name: str, model: onnx.ModelProto | None = None) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((model or builders.mlp(16, 64, 4)).SerializeToString())
    return path


def _run(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def test_a_configuration_is_made_where_there_is_none() -> None:
    _store("files/Half plus two.onnx")

    done = _run("add", "files/Half plus two.onnx")

    assert done.exit_code == 0
    config = load_config(Path("onnxlift.toml"))
    assert config.models["Half-plus-two"].source.name == "Half plus two.onnx"
    text = Path("onnxlift.toml").read_text("utf-8")
    assert "# input x: FP32 [rows, 16]" in text
    assert "# classes = []  # 4 names" in text
    assert 'source = "files/Half plus two.onnx"' in text


def test_a_second_model_is_put_behind_the_first() -> None:
    _store("a.onnx")
    _run("add", "a.onnx")

    done = _run("add", "a.onnx", "--name", "Model.v1", "--json")

    assert json.loads(done.output)["model"] == "Model.v1"
    assert list(load_config(Path("onnxlift.toml")).models) == ["a", "Model.v1"]


@pytest.mark.parametrize(
    ("words", "status"),
    [(["a.onnx"], 2), (["a.onnx", "--name", "no spaces"], 2), (["missing.onnx"], 1)],
)
def test_nothing_is_written_where_the_table_does_not_fit(words: list[str], status: int) -> None:
    _store("a.onnx")
    _run("add", "a.onnx")
    before = Path("onnxlift.toml").read_bytes()

    done = _run("add", *words)

    assert done.exit_code == status
    assert Path("onnxlift.toml").read_bytes() == before
    assert [path.name for path in Path().glob(".*part")] == []


def test_a_file_is_compressed_by_itself_and_the_result_says_that_no_data_judged_it() -> None:
    _store("m.onnx", builders.mlp(16, 512, 512))

    done = _run("compress", "m.onnx", "--budget", "30")

    assert done.exit_code == 0, done.output
    assert "no real data has judged this model" in done.output
    manifest = read_manifest(Path("artifacts/m/1"))
    assert manifest.judged_on == "generated inputs"
    assert manifest.quality.samples == 64
    report = json.loads(Path("artifacts/m/1/report.json").read_text("utf-8"))
    assert any("no real data" in note for note in report["notes"])
    assert report["samples"][0]["file"] == "generated inputs"
    assert all(
        "calibration" in row["reason"] for row in report["candidates"] if row["status"] == "skipped"
    )


def test_a_model_that_answers_all_made_inputs_alike_says_to_name_samples() -> None:
    zero = helper.make_node("Mul", ["x", "zero"], ["y"])
    ends = [builders.value("x", "FP32", (-1, 1))], [builders.value("y", "FP32", (-1, 1))]
    _store("flat.onnx", builders.build([zero], *ends, {"zero": np.array(0, np.float32)}))

    done = _run("compress", "flat.onnx")

    assert done.exit_code == 1
    assert "name samples of your own in quality.samples" in done.output


def test_an_input_may_be_called_file() -> None:
    model = builders.mlp(16, 64, 4)
    model.graph.input[0].name = model.graph.node[0].input[0] = "file"
    _store("m.onnx", model)

    assert _run("compress", "m.onnx", "--recipe", "int8-weights").exit_code == 0


def test_a_file_that_the_configuration_names_is_compressed_as_configured() -> None:
    _store("m.onnx")
    _run("add", "m.onnx", "--name", "mine")

    done = _run("compress", "m.onnx", "--recipe", "int8-weights", "--json")

    assert json.loads(done.output)["models"][0]["folder"].endswith("artifacts/mine/1")
