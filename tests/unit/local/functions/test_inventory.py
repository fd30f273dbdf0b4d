"""What `onnxlift serve` says it serves."""

from pathlib import Path

from onnxlift.config import load_config
from onnxlift.local.functions.inventory import take_inventory
from tests.integration.conftest import write_config
from tests.support import builders


def test_configured_models_without_an_artifact_are_skipped_with_the_way_out(tmp_path: Path) -> None:
    builders.write_artifact(tmp_path / "artifacts", builders.linear(), name="here")
    config = load_config(write_config(tmp_path, "here", "absent"))

    inventory = take_inventory(config, config.artifacts, {})

    assert [manifest.name for manifest in inventory.served] == ["here"]
    assert list(inventory.skipped) == ["absent"]
    assert "run `onnxlift compress absent`" in inventory.skipped["absent"]


def test_a_version_that_could_not_be_opened_is_skipped_with_its_reason(tmp_path: Path) -> None:
    builders.write_artifact(tmp_path / "artifacts", builders.linear(), name="here")
    config = load_config(write_config(tmp_path, "here"))

    inventory = take_inventory(config, config.artifacts, {("here", "1"): "the file is damaged"})

    assert inventory.served == ()
    assert inventory.lines() == ("skipping here version 1: the file is damaged",)


def test_a_small_model_is_told_with_its_size_in_bytes(tmp_path: Path) -> None:
    builders.write_artifact(tmp_path / "artifacts", builders.linear(), name="here")
    config = load_config(write_config(tmp_path, "here"))

    inventory = take_inventory(config, config.artifacts, {})

    (manifest,) = inventory.served
    assert inventory.lines() == (f"serving here version 1 (fp32, {manifest.size_bytes} B)",)
