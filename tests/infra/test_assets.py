"""What is laid out for an image, a zip or a layer."""

from pathlib import Path

import pytest

from infra.assets import copy_files, image_files, layer_files, link_files, worker_files, zip_files
from infra.models import DeployedModel
from onnxlift.placement import Placement
from tests.support import builders


def test_link_files_lays_out_the_content_of_each_file(tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("content")

    folder = link_files({"a/b/c.txt": source, "d.txt": source}, tmp_path / "laid")

    found = {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in Path(folder).rglob("*.txt")
    }
    assert found == {"a/b/c.txt": "content", "d.txt": "content"}


def test_link_files_refuses_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        link_files({"model.onnx": tmp_path / "model.onnx"}, tmp_path / "laid")


def test_copy_files_lays_out_files_that_are_no_links(tmp_path: Path) -> None:
    source, link = tmp_path / "source.txt", tmp_path / "link.txt"
    source.write_text("content")
    link.symlink_to(source)

    folder = copy_files({"a/b/c.txt": source, "d.txt": link}, tmp_path / "laid")

    laid = [folder / "a/b/c.txt", folder / "d.txt"]
    assert [(path.read_text(), path.is_symlink()) for path in laid] == [("content", False)] * 2


def test_worker_files_are_its_modules_and_the_runtime_without_a_model() -> None:
    root = Path(__file__).resolve().parents[2]

    folders = {name.split("/")[0] for name in worker_files(root)}

    assert folders == {"gpu_fallback", "requirements", "layers", "infra"}
    assert all(path.is_file() for path in worker_files(root).values())


def test_layer_files_are_modules_alone(tmp_path: Path) -> None:
    package = tmp_path / "layers" / "runtime" / "python" / "onnxlift_runtime"
    for name in ("__init__.py", "inner/deep.py", "__pycache__/x.pyc", "notes.txt", ".env"):
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    files = layer_files(tmp_path)

    assert sorted(files) == [
        "python/onnxlift_runtime/__init__.py",
        "python/onnxlift_runtime/inner/deep.py",
    ]


def test_reports_beside_the_manifest_are_not_shipped(tmp_path: Path) -> None:
    manifest = builders.write_artifact(tmp_path, builders.linear(), name="linear")
    for name in ("report.json", "report.html"):
        (tmp_path / "linear" / manifest.version / name).touch()
    model = DeployedModel(
        "linear",
        tmp_path / "linear",
        (manifest,),
        Placement("lambda", 1769, ""),
        "service-linear-predict",
    )

    shipped = [*image_files(tmp_path, model), *zip_files(tmp_path, "control", [model])]

    assert [name for name in shipped if "report" in name] == []
    assert f"artifacts/linear/{manifest.version}/model.onnx" in shipped
