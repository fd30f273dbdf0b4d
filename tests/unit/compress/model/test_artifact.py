"""An artifact is complete or not there: whatever fails, and wherever it fails."""

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnxlift.compress.model import artifact
from onnxlift.compress.model.artifact import file_entries, write_artifact
from onnxlift_runtime.errors import ArtifactCorrupt, ArtifactError
from onnxlift_runtime.manifest import Manifest, read_manifest, read_manifests, verify_files
from tests.support import builders
from tests.support.errors import raises

Fail = Callable[[BaseException], None]


def _files(folder: Path, content: bytes = b"weights") -> tuple[Path, Manifest]:
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    return folder, builders.manifest(files=file_entries(folder), recipe=content.decode())


def _tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


# Everything that touches the disk on the way, as (where, name): each is made to fail in turn.
STAGES = [
    (Path, "mkdir"),
    (shutil, "copyfile"),
    (artifact, "_flush"),
    (artifact, "verify_files"),
    (Manifest, "to_json"),
    (Path, "write_text"),
    (artifact, "_take_place"),
]


def _break(
    patch: pytest.MonkeyPatch, where: Any, name: str, error: BaseException, on_call: int = 1
) -> None:
    real, calls = getattr(where, name), itertools.count(1)

    def failing(*args: Any, **options: Any) -> Any:
        if next(calls) == on_call:
            raise error
        return real(*args, **options)

    patch.setattr(where, name, failing)


def test_a_new_artifact_is_complete(tmp_path: Path) -> None:
    files, manifest = _files(tmp_path / "made")
    target = tmp_path / "artifacts" / "tiny" / "1"

    write_artifact(target, files, manifest)

    assert sorted(_tree(tmp_path / "artifacts")) == ["tiny/1/manifest.json", "tiny/1/model.onnx"]
    assert read_manifest(target) == manifest
    verify_files(target, manifest)
    assert [path.name for path in (tmp_path / "artifacts" / "tiny").iterdir()] == ["1"]


@pytest.mark.parametrize("exchange", [True, False])
def test_an_older_artifact_is_replaced_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    target = tmp_path / "artifacts" / "tiny" / "1"
    write_artifact(target, *_files(tmp_path / "old", b"old"))
    (target / "stray").write_bytes(b"left by somebody")
    if not exchange:
        monkeypatch.setattr(artifact, "_exchange", lambda *_: False)

    write_artifact(target, *_files(tmp_path / "new", b"new"))

    assert read_manifest(target).recipe == "new"
    assert sorted(_tree(tmp_path / "artifacts")) == ["tiny/1/manifest.json", "tiny/1/model.onnx"]
    assert [path.name for path in target.parent.iterdir()] == ["1"]


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError("no")],
    ids=repr,
)
@pytest.mark.parametrize(
    ("where", "name"), STAGES, ids=lambda item: str(getattr(item, "__name__", item))
)
def test_a_failure_anywhere_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, error: BaseException
) -> None:
    files, manifest = _files(tmp_path / "made")
    (tmp_path / "artifacts").mkdir()

    with monkeypatch.context() as patch:
        _break(patch, where, name, error)
        with pytest.raises((ArtifactError, KeyboardInterrupt, RuntimeError)):
            write_artifact(tmp_path / "artifacts" / "tiny" / "1", files, manifest)

    assert list((tmp_path / "artifacts").iterdir()) == []


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr
)
@pytest.mark.parametrize(
    ("where", "name"), STAGES, ids=lambda item: str(getattr(item, "__name__", item))
)
def test_a_failure_anywhere_leaves_the_older_artifact_as_it_was(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    name: str,
    error: BaseException,
    exchange: bool,
) -> None:
    target = tmp_path / "artifacts" / "tiny" / "1"
    write_artifact(target, *_files(tmp_path / "old", b"old"))
    before = _tree(tmp_path / "artifacts")
    files, manifest = _files(tmp_path / "new", b"new")

    with monkeypatch.context() as patch:
        if not exchange:
            patch.setattr(artifact, "_exchange", lambda *_: False)
        _break(patch, where, name, error)
        with pytest.raises((ArtifactError, KeyboardInterrupt)):
            write_artifact(target, files, manifest)

    assert _tree(tmp_path / "artifacts") == before
    assert [path.name for path in target.parent.iterdir()] == ["1"]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("on_call", [1, 2])
def test_without_exchange_a_failed_rename_brings_the_older_artifact_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, on_call: int
) -> None:
    target = tmp_path / "artifacts" / "tiny" / "1"
    write_artifact(target, *_files(tmp_path / "old", b"old"))
    before = _tree(tmp_path / "artifacts")
    files, manifest = _files(tmp_path / "new", b"new")

    with monkeypatch.context() as patch:
        patch.setattr(artifact, "_exchange", lambda *_: False)
        _break(patch, Path, "rename", error, on_call)
        with pytest.raises((ArtifactError, KeyboardInterrupt)):
            write_artifact(target, files, manifest)

    assert _tree(tmp_path / "artifacts") == before


def test_a_half_written_artifact_is_never_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, manifest = _files(tmp_path / "made")
    root = tmp_path / "artifacts"
    seen: list[Manifest] = []
    real = artifact._take_place

    def look_first(staging: Path, target: Path, aside: Path) -> None:
        assert read_manifest(staging) == manifest
        seen.extend(read_manifests(root))
        real(staging, target, aside)

    monkeypatch.setattr(artifact, "_take_place", look_first)
    write_artifact(root / "tiny" / "1", files, manifest)

    assert seen == []
    assert read_manifests(root) == (manifest,)


def test_a_file_that_changed_meanwhile_is_not_written(tmp_path: Path) -> None:
    files, manifest = _files(tmp_path / "made")
    (files / "model.onnx").write_bytes(b"another")

    with pytest.raises(ArtifactCorrupt):
        write_artifact(tmp_path / "artifacts" / "tiny" / "1", files, manifest)

    assert not (tmp_path / "artifacts" / "tiny").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    files, manifest = _files(tmp_path / "made")
    (tmp_path / "artifacts").write_text("a file where a folder should be")

    with raises(ArtifactError, "artifacts/tiny/1", "Not a directory"):
        write_artifact(tmp_path / "artifacts" / "tiny" / "1", files, manifest)


def test_other_versions_and_other_writers_are_left_alone(tmp_path: Path) -> None:
    files, manifest = _files(tmp_path / "made")
    other = tmp_path / "artifacts" / "tiny" / ".writing" / "2-abcd"
    other.mkdir(parents=True)

    write_artifact(tmp_path / "artifacts" / "tiny" / "1", files, manifest)

    assert other.is_dir()


def test_entries_are_sorted_and_complete(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"12")
    (tmp_path / "a").write_bytes(os.urandom(5))

    entries = file_entries(tmp_path)

    assert [(entry.path, entry.size_bytes, len(entry.sha256)) for entry in entries] == [
        ("a", 5, 64),
        ("b", 2, 64),
    ]
