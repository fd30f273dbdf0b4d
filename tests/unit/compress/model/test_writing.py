"""Models to files and back, as one file or with the weights beside it."""

from pathlib import Path

import onnx
import pytest

from onnxlift.compress.model import writing
from onnxlift.compress.model.writing import save_model, through_files
from onnxlift.compress.pipeline import compress
from onnxlift_runtime.manifest import verify_files
from tests.support import builders
from tests.support.compress.bench import Make, silent


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the limit of one file below any test model."""
    monkeypatch.setattr(writing, "_LARGEST_BYTES", 1)


def test_the_same_model_gives_the_same_file(tmp_path: Path) -> None:
    save_model(builders.mlp(), tmp_path / "a.onnx")
    save_model(builders.mlp(), tmp_path / "b.onnx")

    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert onnx.load(tmp_path / "a.onnx") == builders.mlp()


@pytest.mark.usefixtures("beside")
def test_weights_too_large_for_one_file_go_beside_it_and_stay_in_the_caller_s_model(
    tmp_path: Path,
) -> None:
    model = builders.mlp()

    save_model(model, tmp_path / "model.onnx")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert model == builders.mlp()
    weights = {
        tensor.name: tensor.raw_data
        for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer
    }
    assert weights == {tensor.name: tensor.raw_data for tensor in model.graph.initializer}


@pytest.mark.usefixtures("beside")
def test_a_change_reads_and_writes_files_and_leaves_its_input_alone() -> None:
    model = builders.mlp()

    def rename(before: Path, after: Path) -> None:
        read = onnx.load(before)
        read.graph.name = "renamed"
        save_model(read, after)

    changed = through_files(model, rename)

    assert (changed.graph.name, model.graph.name) == ("renamed", "built")


@pytest.mark.usefixtures("unmeasured")
def test_an_artifact_with_weights_beside_the_model_names_both_files(make: Make) -> None:
    outcome = compress(make(builders.mlp(16, 300_000, 4), recipe="int8-nearest"), "m", silent)

    assert [entry.path for entry in outcome.manifest.files] == ["model.onnx", "model.onnx.data"]
    verify_files(outcome.folder, outcome.manifest)
