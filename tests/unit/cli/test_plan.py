"""``onnxlift plan`` as its users run it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from onnxlift.cli import main
from tests.support import builders

CONFIG = """
service = "demo"
[models.small]
source = "model.onnx"
quality = { samples = "samples.npz" }
[models.large]
source = "model.onnx"
quality = { samples = "samples.npz" }
placement = { tier = "gpu" }
[models.later]
source = "model.onnx"
quality = { samples = "samples.npz" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "onnxlift.toml").write_text(CONFIG)
    for name in ("small", "large"):
        builders.write_artifact(tmp_path / "artifacts", builders.linear(), name=name)
    return tmp_path


def plan(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["plan", "--config", str(folder / "onnxlift.toml"), *arguments])


def test_every_model_is_told_with_its_tier_its_margins_and_its_costs(folder: Path) -> None:
    found = plan(folder)

    assert found.exit_code == 0, found.output
    assert "small → lambda: peak 60 MB" in found.output
    assert "large → gpu: the configuration asks for it" in found.output
    assert "10,240 MB" in found.output
    assert "Lambda is cheaper below" in found.output
    assert "public $0.00 (configured), endpoints $116.80" in found.output


def test_a_model_without_an_artifact_is_told_with_the_command_that_makes_it(folder: Path) -> None:
    assert "later: not compressed yet; run `onnxlift compress later`" in plan(folder).output


def test_json_holds_the_same_for_programs(folder: Path) -> None:
    document = json.loads(plan(folder, "--json", "--requests", "5", "--requests", "7").output)

    small, large = document["models"]
    assert [level["requests"] for level in small["estimate"]["traffic"]] == [5, 7]
    assert (small["placement"]["tiers"], large["placement"]["tiers"]) == (["lambda"], ["gpu"])
    assert set(document["missing"]) == {"later"}


def test_only_the_named_models_are_told(folder: Path) -> None:
    document = json.loads(plan(folder, "large", "--json").output)

    assert [found["name"] for found in document["models"]] == ["large"]


def test_a_model_that_is_not_configured_is_a_misuse(folder: Path) -> None:
    found = plan(folder, "nobody")

    assert found.exit_code == 2
    assert "configured are: small, large, later" in found.output
