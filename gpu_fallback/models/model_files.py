"""The files of models, from S3 into a folder that several processes may share.

::

    index.json ─▶ manifests ─▶ catalog
    file of a manifest ─▶ <name>.part, in ranges ─▶ SHA-256 ─▶ takes its place ─▶ opened

A file below its own name is complete: whoever finds one compares its digest, and fetches it again
where that differs.
"""

import errno
import fcntl
import json
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from onnxlift_runtime import telemetry
from onnxlift_runtime.aws.files import Location, Ranges, download, read_small
from onnxlift_runtime.errors import ArtifactCorrupt, ArtifactError, ModelTooLarge
from onnxlift_runtime.manifest import FileEntry, Manifest, file_sha256
from onnxlift_runtime.settings import MIB

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TELL_EVERY_S: Final = 10.0
SPARE_BYTES: Final = 64 * MIB  # left free on the disk, for whatever else is written there
LOCK: Final = ".lock"
PART: Final = ".part"
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Weights:
    """One version of a model and where its files lie: path below its folder to object."""

    manifest: Manifest
    files: Mapping[str, Location]


def read_index(client: "S3Client", url: str) -> tuple[Weights, ...]:
    """Every model of the index at ``url``; raises ``ArtifactMissing``, ``ArtifactCorrupt`` and
    ``StoreUnavailable``.
    """
    location = Location.parse(url)
    try:
        found = json.loads(read_small(client, location))["models"]
        return tuple(_weights(item["manifest"], item["files"], location) for item in found)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactCorrupt(
            f"{location} is no index of models: {error!r}; deploy again"
        ) from error


def fetch(client: "S3Client", weights: Weights, root: Path, ranges: Ranges | None = None) -> Path:
    """Have every file of a model below ``root``, as its manifest says; returns the model's folder.

    What is there and right is kept. Another process that wants the same is waited for. Raises
    ``ArtifactError``, ``ModelTooLarge`` where the disk has no room, and ``StoreUnavailable``.
    """
    manifest = weights.manifest
    folder = root / manifest.name / manifest.version
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            missing = [entry for entry in manifest.files if not _intact(folder / entry.path, entry)]
            _require_room(folder, missing)
            progress = _Progress(manifest, sum(entry.size_bytes for entry in missing))
            for entry in missing:
                _fetch_file(
                    client, weights.files[entry.path], entry, folder / entry.path, progress, ranges
                )
            progress.end()
    except OSError as error:
        told = ModelTooLarge if error.errno in _FULL else ArtifactError
        raise told(f"{folder} cannot be written: {error.strerror or error}") from error
    return folder


def _weights(manifest: Any, keys: Any, index: Location) -> Weights:
    """One entry of the index, none of whose names leads out of the folder that the files go to."""
    found = Manifest.from_json(json.dumps(manifest))
    _require_names((found.name, found.version), single=True)
    _require_names([entry.path for entry in found.files])
    if lacking := [
        name
        for name in (found.model_file, *(entry.path for entry in found.files))
        if name not in keys
    ]:
        raise ArtifactCorrupt(
            f"{index} has no object for {lacking[0]!r} of model {found.name!r}; deploy again"
        )
    if found.model_file not in {entry.path for entry in found.files}:
        raise ArtifactCorrupt(
            f"{index}: the files of model {found.name!r} lack {found.model_file!r}; compress again"
        )
    return Weights(
        found, {entry.path: Location(index.bucket, str(keys[entry.path])) for entry in found.files}
    )


def _require_names(names: Sequence[str], *, single: bool = False) -> None:
    for name in names:
        path = PurePosixPath(name)
        plain = (
            name == str(path) and not path.is_absolute() and ".." not in path.parts and path.parts
        )
        hidden = any(
            part.startswith(".") for part in path.parts
        )  # ours: locks and unfinished files
        if not plain or hidden or "\\" in name or "\0" in name or (single and len(path.parts) > 1):
            raise ArtifactCorrupt(
                f"{name!r} is no name that a file of a model may have; compress again"
            )


def _intact(path: Path, entry: FileEntry) -> bool:
    """Whether the file is what the manifest says."""
    return (
        path.is_file()
        and path.stat().st_size == entry.size_bytes
        and file_sha256(path) == entry.sha256
    )


def _require_room(folder: Path, missing: Sequence[FileEntry]) -> None:
    needed = sum(entry.size_bytes for entry in missing)
    free = shutil.disk_usage(folder).free
    if missing and needed + SPARE_BYTES > free:
        raise ModelTooLarge(
            f"{folder} needs {needed / MIB:.0f} MB for the model's files and has {free / MIB:.0f} "
            f"MB free, "
            f"{SPARE_BYTES // MIB} MB of which stay so; give the worker a larger disk"
        )


def _fetch_file(
    client: "S3Client",
    location: Location,
    entry: FileEntry,
    path: Path,
    progress: "_Progress",
    ranges: Ranges | None,
) -> None:
    """Fetch one file; it takes its place only when its digest is right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}{PART}")
    download(client, location, entry.size_bytes, part, progress.add, ranges)
    try:
        if (found := file_sha256(part)) != entry.sha256:
            raise ArtifactCorrupt(
                f"{location} has SHA-256 {found[:16]}…, its manifest says {entry.sha256[:16]}…; "
                f"deploy again"
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes and threads out of a folder; the lock dies with its process.

    Whoever holds it has no rival, so parts that lie there are what a dead process left behind.
    """
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            telemetry.log(
                "info", "waiting for another process that fetches the model", folder=str(folder)
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        for part in folder.rglob(f".*{PART}"):
            part.unlink()
        yield


class _Progress:
    """Tells how far a long download is."""

    def __init__(self, manifest: Manifest, size_bytes: int) -> None:
        self._manifest = manifest
        self._size_bytes = size_bytes
        self._lock = threading.Lock()
        self._began_s = self._told_s = time.monotonic()
        self._done = 0

    def add(self, size_bytes: int) -> None:
        """So many more bytes are there."""
        with self._lock:
            self._done += size_bytes
            now_s = time.monotonic()
            due = now_s - self._told_s >= TELL_EVERY_S
            if due:
                self._told_s = now_s
        if due:
            self._tell("model comes")

    def end(self) -> None:
        """Everything is there."""
        if self._size_bytes:
            self._tell("model came")

    def _tell(self, message: str) -> None:
        seconds = time.monotonic() - self._began_s
        telemetry.log(
            "info",
            message,
            model=self._manifest.name,
            version=self._manifest.version,
            done_mb=round(self._done / MIB, 1),
            size_mb=round(self._size_bytes / MIB, 1),
            seconds=round(seconds, 1),
        )
