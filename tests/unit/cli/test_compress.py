"""``onnxlift compress``: what it prints, and its exit codes."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click import unstyle
from click.testing import CliRunner, Result

from onnxlift.cli import main
from onnxlift.compress.cpu.instructions import Availability, InstructionSet
from onnxlift.compress.search import instruction_sets
from onnxlift_runtime.manifest import read_manifest
from tests.support.compress.command import ONNXLIFT

pytestmark = pytest.mark.usefixtures("shared_trials")


def _compress(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["compress", "-c", str(config), *arguments])


def test_every_configured_model_is_compressed_and_shown(config: Path) -> None:
    result = _compress(config)

    # stderr may have lines of progress: how many depends on how busy the machine is.
    assert result.exit_code == 0
    manifests = {
        name: read_manifest(config.parent / "artifacts" / name / "1") for name in ("conv", "tiny")
    }
    for word in (
        "\nsize ",
        "\ncosine ",
        "p50, batch 1",
        "load",
        "peak memory",
        "placement: lambda with 1,769 MB",
        "answers agree on",
    ):
        assert result.stdout.count(word) == 2
    assert manifests["conv"].recipe in result.stdout
    assert manifests["tiny"].recipe == "fp32"
    assert result.stdout.count("the model ships as fp32") == 1


def test_every_candidate_has_a_row_with_its_reason(config: Path) -> None:
    result = _compress(config, "conv")

    rows = [
        line
        for line in result.stdout.splitlines()
        if line.startswith(("int8-", "prune-", "structured", "fp32"))
    ]
    assert len(rows) == 8
    assert sum("chosen: the smallest of" in row for row in rows) == 1
    reasons = ("passes with", "smaller", "falls", "preferred", "chosen")
    assert all(any(reason in row for reason in reasons) for row in rows)


def test_explaining_tells_of_every_candidate_what_was_measured(config: Path) -> None:
    result = _compress(config, "conv", "--explain")

    assert result.stdout.count("  steps: clean graph") == 7
    assert result.stdout.count("with 95% confidence, 0.05 is allowed") >= 10
    assert "int8-static · chosen · the smallest of" in result.stdout


def test_two_recipes_are_compared_without_an_artifact(config: Path) -> None:
    result = _compress(config, "conv", "--compare", "int8-static", "fp32")

    assert result.exit_code == 0
    for word in (
        "int8-static",
        "fp32",
        "cosine, bound",
        "p50, batch 1",
        "1,000 requests",
        "it passes",
        "nothing was",
    ):
        assert word in result.stdout
    assert not (config.parent / "artifacts").exists()


def test_a_comparison_for_programs_is_json(config: Path) -> None:
    answer = json.loads(
        _compress(config, "conv", "--json", "--compare", "int8-static", "fp32").stdout
    )["models"][0]

    assert [row["recipe"] for row in answer["candidates"]] == ["int8-static", "fp32"]
    assert answer["limits"][0]["metric"] == "cosine"


def test_a_comparison_and_a_recipe_contradict(config: Path) -> None:
    result = _compress(config, "conv", "--recipe", "fp32", "--compare", "int8-static", "fp32")

    assert result.exit_code == 2
    assert "leave --recipe out" in result.stderr


def test_a_search_is_no_recipe_to_compare(config: Path) -> None:
    result = _compress(config, "conv", "--compare", "auto", "fp32")

    assert result.exit_code == 2
    assert "auto is a search, not a recipe" in result.stderr


def test_an_error_names_its_model_where_several_are_compressed(config: Path) -> None:
    (config.parent / "conv.onnx").write_bytes(b"")

    result = _compress(config)

    assert (result.exit_code, result.stdout) == (1, "")
    assert (
        result.stderr == f"conv: {config.parent}/conv.onnx is empty, an ONNX model was expected\n"
    )


def test_a_recipe_can_be_asked_for_by_name(config: Path) -> None:
    result = _compress(config, "conv", "--recipe", "int8-dynamic")

    assert result.exit_code == 0
    assert read_manifest(config.parent / "artifacts/conv/1").recipe == "int8-dynamic"


def test_a_terminal_of_80_columns_shows_the_time_and_what_is_done(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm-256color"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)

    shown = unstyle(_compress(config, "tiny").stderr)

    assert re.search(r"tiny ━{16} \d:\d\d:\d\d +writing fp32, best: fp32", shown)


def test_json_is_all_that_is_printed_when_asked_for(config: Path) -> None:
    result = _compress(config, "conv", "--json")

    answer = json.loads(result.stdout)["models"][0]
    assert result.stderr == ""
    assert answer["manifest"] == json.loads(
        (config.parent / "artifacts/conv/1/manifest.json").read_text()
    )
    assert answer["placement"]["tier"] == "lambda"
    assert 0 < answer["ratio"] < 1
    assert len(answer["candidates"]) == 8
    assert answer["source"]["load_ms"] > 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nobody"], 2, "models.nobody: there is no such model; configured: conv, tiny"),
        (
            ["conv", "--recipe", "int4"],
            1,
            "there is no recipe 'int4' for x86_64; legal: auto, int8-static",
        ),
        (["-c", "nowhere.toml"], 2, "nowhere.toml does not exist"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(
    config: Path, arguments: list[str], code: int, words: str
) -> None:
    result = _compress(config, *arguments)

    assert result.exit_code == code
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_a_cache_that_cannot_be_written_is_one_line(config: Path) -> None:
    (config.parent / ".onnxlift").touch()

    result = _compress(config, "conv")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"{config.parent}/.onnxlift/search/conv: Not a directory\n"


@pytest.mark.parametrize("name", ["int8-static", "structured", "int8-smooth-mix4"])
def test_a_recipe_without_its_samples_is_one_line_and_writes_nothing(
    config: Path, name: str
) -> None:
    config.write_text(
        config.read_text().replace('calibration.samples = "conv-calibration.npz"\n', "")
    )

    result = _compress(config, "conv", "--recipe", name)

    line = (
        f"recipe '{name}' needs calibration samples; name a file of them in "
        f"models.conv.calibration.samples"
    )
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [line]
    assert not (config.parent / "artifacts").exists()
    assert not (config.parent / ".onnxlift").exists()


def test_a_failed_gate_exits_1_and_leaves_nothing(config: Path) -> None:
    config.write_text(config.read_text().replace("max_drop = 0.05", "max_drop = 0.0"))

    result = _compress(config, "conv", "--recipe", "int8-static")

    assert result.exit_code == 1
    assert "nothing was written: int8-static: cosine falls from 1 to 0.9" in result.stderr
    assert not (config.parent / "artifacts").exists()


def test_an_instruction_set_that_cannot_be_reached_is_said(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = Availability(InstructionSet.AVX2, None, "not available because it is a test")
    monkeypatch.setattr(instruction_sets, "available", lambda _: nowhere)
    # A CPU that has AVX2 and no more would not look elsewhere.
    monkeypatch.setattr(instruction_sets, "native", lambda: InstructionSet.VNNI)

    result = _compress(config, "conv")

    assert "not verified on x86_64-avx2: not available because it is a test" in result.stdout
    manifest = read_manifest(config.parent / "artifacts/conv/1")
    assert "x86_64-avx2" not in manifest.verified_on
    assert manifest.not_verified_on["x86_64-avx2"] == "not available because it is a test"


def test_two_processes_write_the_same_model(config: Path) -> None:
    digests = set()
    for seed in ("1", "2"):
        shutil.rmtree(config.parent / ".onnxlift", ignore_errors=True)
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [*ONNXLIFT, "compress", "conv", "--json", "-c", str(config)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        digests.add(json.loads(done.stdout)["models"][0]["manifest"]["files"][0]["sha256"])

    assert len(digests) == 1
