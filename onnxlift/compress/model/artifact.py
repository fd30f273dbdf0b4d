"""Write an artifact so that its folder is either complete or as it was."""

import contextlib
import ctypes
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from onnxlift_runtime.errors import ArtifactError
from onnxlift_runtime.manifest import MANIFEST_NAME, FileEntry, Manifest, file_sha256, verify_files

# One level deeper than an artifact, so that nobody who lists artifacts finds a half-written one.
WRITING: Final = ".writing"
# Linux's constants for renameat2: paths from the working directory, and trade both names.
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


def file_entries(folder: Path) -> tuple[FileEntry, ...]:
    """Digest and size of every file in ``folder``, sorted by name."""
    return tuple(
        FileEntry(path.name, file_sha256(path), path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.is_file()
    )


def write_artifact(
    target: Path, files: Path, manifest: Manifest, texts: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Make ``target`` hold the files of folder ``files`` that the manifest names, and the manifest,
    written last.

    ``texts`` are further files by name, which are never served.

    Everything is written and flushed to disk beside ``target`` and takes its place in one step;
    until then, and after any failure or interruption, ``target`` is what it was before. Raises
    ``ArtifactError`` where the disk refuses.
    """
    writing = target.parent / WRITING
    staging = writing / f"{target.name}-{secrets.token_hex(4)}"
    aside = staging.with_name(f"{staging.name}-old")
    try:
        staging.mkdir(parents=True)
        for entry in manifest.files:
            shutil.copyfile(files / entry.path, staging / entry.path)
            _flush(staging / entry.path)
        verify_files(staging, manifest)
        for name, text in texts.items():
            (staging / name).write_text(text, "utf-8")
            _flush(staging / name)
        (staging / MANIFEST_NAME).write_text(manifest.to_json(), "utf-8")
        _flush(staging / MANIFEST_NAME)
        _flush(staging)  # a rename may reach the disk before what it names
        _take_place(staging, target, aside)
        _flush(target.parent)
    except OSError as error:
        raise ArtifactError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        for leftover in (staging, aside) if target.exists() else (staging,):
            shutil.rmtree(leftover, ignore_errors=True)
        for folder in (writing, target.parent):
            with contextlib.suppress(OSError):  # not empty: somebody else's files are in it
                folder.rmdir()


def _take_place(staging: Path, target: Path, aside: Path) -> None:
    """Rename ``staging`` to ``target``; an older ``target`` is then in ``staging`` or ``aside``."""
    if not target.exists():
        staging.rename(target)
    elif not _exchange(staging, target):
        target.rename(aside)
        try:
            staging.rename(target)
        except BaseException:
            aside.rename(target)
            raise


def _exchange(first: Path, second: Path) -> bool:
    """Let two folders trade names in one step; False where the system cannot (Linux alone can, man
    renameat2).
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    return bool(
        rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0
    )


def _flush(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
