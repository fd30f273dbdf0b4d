"""The files of models: complete and right below their names, or not there; never outside their
folder.
"""

import json
import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gpu_fallback.models.model_files import LOCK, PART, Weights, _alone, fetch, read_index
from onnxlift_runtime.aws.files import Ranges
from onnxlift_runtime.errors import ArtifactCorrupt, ArtifactError, ArtifactMissing, ModelTooLarge
from onnxlift_runtime.manifest import MANIFEST_NAME, FileEntry, Manifest, file_sha256, verify_files
from tests.support import builders
from tests.support.gpu.buckets import BUCKET, INDEX, URL, Client, assets, upload

__all__ = ["assets"]

SMALL = Ranges(size_bytes=64, threads=3, pause_s=0)


@pytest.fixture
def artifact(assets: Any, tmp_path: Path) -> Manifest:
    """A model in the bucket, its index beside it."""
    manifest = builders.write_artifact(tmp_path / "built", builders.linear())
    upload(assets, tmp_path / "built", manifest)
    return manifest


def index(assets: Any) -> Any:
    return json.loads(assets.get_object(Bucket=BUCKET, Key=INDEX)["Body"].read())


def put_index(assets: Any, found: Any) -> None:
    assets.put_object(Bucket=BUCKET, Key=INDEX, Body=json.dumps(found))


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != LOCK)


def test_a_model_comes_as_its_manifest_says(
    assets: Any, artifact: Manifest, tmp_path: Path
) -> None:
    (found,) = read_index(assets, URL)

    folder = fetch(assets, found, tmp_path / "cache", SMALL)

    assert found.manifest == artifact
    assert folder == tmp_path / "cache" / "tiny" / "1"
    verify_files(folder, artifact)
    assert files_below(folder) == ["model.onnx"]


def test_what_is_there_and_right_is_not_fetched_again(
    assets: Any, artifact: Manifest, tmp_path: Path
) -> None:
    (found,) = read_index(assets, URL)
    fetch(assets, found, tmp_path, SMALL)
    client = Client(assets)

    fetch(client, found, tmp_path)  # type: ignore[arg-type]

    assert client.reads == []


def test_a_damaged_file_and_what_a_dead_process_left_are_replaced(
    assets: Any, artifact: Manifest, tmp_path: Path
) -> None:
    (found,) = read_index(assets, URL)
    folder = tmp_path / "tiny" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"\0" * artifact.files[0].size_bytes)
    (folder / f".other{PART}").write_bytes(b"half")

    fetch(assets, found, tmp_path)

    verify_files(folder, artifact)
    assert files_below(folder) == ["model.onnx"]


def test_an_object_with_other_bytes_is_corrupt_and_never_takes_the_files_place(
    assets: Any, artifact: Manifest, tmp_path: Path
) -> None:
    (found,) = read_index(assets, URL)
    assets.put_object(
        Bucket=BUCKET, Key=found.files["model.onnx"].key, Body=b"\0" * artifact.files[0].size_bytes
    )

    with pytest.raises(ArtifactCorrupt, match=r"has SHA-256 .*, its manifest says"):
        fetch(assets, found, tmp_path)

    assert files_below(tmp_path / "tiny") == []


def test_an_object_that_is_gone_is_missing(assets: Any, artifact: Manifest, tmp_path: Path) -> None:
    (found,) = read_index(assets, URL)
    assets.delete_object(Bucket=BUCKET, Key=found.files["model.onnx"].key)

    with pytest.raises(ArtifactMissing, match="does not exist; deploy again"):
        fetch(assets, found, tmp_path)


def test_a_disk_without_room_is_told_before_anything_is_read(
    assets: Any, artifact: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    (found,) = read_index(assets, URL)
    client = Client(assets)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: Usage(100))

    with pytest.raises(ModelTooLarge, match="give the worker a larger disk"):
        fetch(client, found, tmp_path)  # type: ignore[arg-type]

    assert client.reads == []


def test_a_folder_that_cannot_be_written_is_told(
    assets: Any, artifact: Manifest, tmp_path: Path
) -> None:
    (found,) = read_index(assets, URL)
    (tmp_path / "tiny").write_text("a file")

    with pytest.raises(ArtifactError, match=r"cannot be written: Not a directory") as raised:
        fetch(assets, found, tmp_path)

    assert type(raised.value) is ArtifactError


@pytest.mark.parametrize(
    "name",
    [
        "../model.onnx",
        "/etc/model.onnx",
        "a/../../b",
        "",
        ".",
        "..",
        "a//b",
        "a\\b",
        ".lock",
        "a/.model.onnx.part",
        "a\0b",
    ],
)
def test_a_file_whose_name_leads_elsewhere_is_refused(
    name: str, assets: Any, artifact: Manifest
) -> None:
    found = index(assets)
    found["models"][0]["manifest"]["files"][0]["path"] = name
    found["models"][0]["files"][name] = "key"
    put_index(assets, found)

    with pytest.raises(ArtifactCorrupt, match="is no name that a file of a model may have"):
        read_index(assets, URL)


@pytest.mark.parametrize(
    ("key", "name"), [("name", "../up"), ("name", "a/b"), ("version", ".."), ("version", "/1")]
)
def test_a_model_whose_name_leads_elsewhere_is_refused(
    key: str, name: str, assets: Any, artifact: Manifest
) -> None:
    found = index(assets)
    found["models"][0]["manifest"][key] = name
    put_index(assets, found)

    with pytest.raises(ArtifactCorrupt, match="is no name that a file of a model may have"):
        read_index(assets, URL)


@pytest.mark.parametrize(
    "found",
    [[], {}, {"models": 1}, {"models": [1]}, {"models": [{"manifest": {}}]}, {"models": None}],
    ids=str,
)
def test_an_index_of_another_form_is_corrupt(found: Any, assets: Any) -> None:
    put_index(assets, found)

    with pytest.raises(ArtifactCorrupt):
        read_index(assets, URL)


def test_an_index_that_lacks_a_files_object_is_corrupt(assets: Any, artifact: Manifest) -> None:
    found = index(assets)
    found["models"][0]["files"] = {}
    put_index(assets, found)

    with pytest.raises(ArtifactCorrupt, match=r"has no object for 'model\.onnx' of model 'tiny'"):
        read_index(assets, URL)


def test_an_index_that_is_not_there_is_missing(assets: Any) -> None:
    with pytest.raises(ArtifactMissing, match=r"s3://assets/index\.json does not exist"):
        read_index(assets, URL)


def _hold(folder: Path, held: Any, done: Any) -> None:
    with _alone(folder):
        held.set()
        done.wait(60)
        (folder / "model.onnx").write_bytes(b"by the other process")


def test_a_process_waits_for_another_that_fetches_the_same(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, held, done))
    other.start()
    assert held.wait(60)

    done.set()
    with _alone(tmp_path):
        found = (tmp_path / "model.onnx").read_bytes()
    other.join()

    assert found == b"by the other process"


def test_files_in_folders_of_the_model_come_to_their_folders(assets: Any, tmp_path: Path) -> None:
    manifest = builders.write_artifact(tmp_path / "built", builders.linear())
    folder = tmp_path / "built" / "tiny" / "1"
    (folder / "data").mkdir()
    (folder / "data" / "weights.bin").write_bytes(b"x" * 200)
    entry = FileEntry("data/weights.bin", file_sha256(folder / "data" / "weights.bin"), 200)
    both = replace(manifest, files=(*manifest.files, entry))
    (folder / MANIFEST_NAME).write_text(both.to_json())
    upload(assets, tmp_path / "built", both)
    (found,) = read_index(assets, URL)

    fetched = fetch(assets, found, tmp_path / "cache", SMALL)

    assert isinstance(found, Weights)
    verify_files(fetched, both)
