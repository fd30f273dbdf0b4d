"""Large objects of S3 into files: many ranges at once, each piece written where it belongs.

Memory is bound by threads × piece, whatever the size of the object; the disk's room is taken before
the first byte.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from onnxlift_runtime.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    OnnxliftError,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RANGE_BYTES: Final = 16 * 1024 * 1024  # S3 recommends 8 to 16 MB for one of several ranged reads
PIECE_BYTES: Final = 1024 * 1024
THREADS: Final = 8
TRIES: Final = 4
MAX_INDEX_BYTES: Final = 16 * 1024 * 1024
_CHANGED: Final = {"PreconditionFailed", "412", "InvalidRange", "416"}
_MISSING: Final = {"NoSuchKey", "NoSuchBucket", "NotFound", "404"}

Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Location:
    """An object in S3."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @classmethod
    def parse(cls, url: str) -> "Location":
        """Read ``s3://bucket/key``; raises ``ArtifactMissing`` for anything else."""
        bucket, _, key = url.removeprefix("s3://").partition("/")
        if not url.startswith("s3://") or not bucket or not key:
            raise ArtifactMissing(f"{url!r} names no object, expected s3://bucket/key")
        return cls(bucket, key)


@dataclass(frozen=True, slots=True)
class Ranges:
    """How an object is read: in ranges of ``size_bytes``, so many at once, each tried again
    ``pause_s`` later.
    """

    size_bytes: int = RANGE_BYTES
    threads: int = THREADS
    pause_s: float = 0.5


def read_small(client: "S3Client", location: Location, max_bytes: int = MAX_INDEX_BYTES) -> bytes:
    """A small object; raises ``ArtifactMissing``, ``ArtifactCorrupt`` above ``max_bytes``, and
    ``StoreUnavailable``.
    """
    try:
        answer = client.get_object(Bucket=location.bucket, Key=location.key)
        if answer["ContentLength"] > max_bytes:
            raise ArtifactCorrupt(
                f"{location} has {answer['ContentLength']} bytes, at most {max_bytes} are read"
            )
        return answer["Body"].read()
    except ClientError as error:
        raise _told(error, location) from error
    except BotoCoreError as error:
        raise StoreUnavailable(f"{location} broke off while it was read: {error}") from error


def download(
    client: "S3Client",
    location: Location,
    size_bytes: int,
    target: Path,
    told: Told,
    ranges: Ranges | None = None,
) -> None:
    """Write an object of ``size_bytes`` to ``target``, which is removed again where that fails.

    ``told`` hears how many bytes each piece had, from several threads. Raises ``ArtifactMissing``,
    ``ArtifactCorrupt`` where the object has another size or changes meanwhile,
    ``StoreUnavailable``, and the disk's own ``OSError``.
    """
    reader = _Reader(
        client, location, _etag(client, location, size_bytes), told, ranges or Ranges()
    )
    file = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        _allocate(file, size_bytes)
        _read_all(reader, file, size_bytes)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)


@dataclass(frozen=True, slots=True)
class _Reader:
    """One object as it was when reading began: ``etag`` names these bytes."""

    client: "S3Client"
    location: Location
    etag: str
    told: Told
    ranges: Ranges

    def read(self, file: int, start: int, end: int) -> None:
        """Write the bytes from ``start`` up to ``end`` to their place; what broke off goes on where
        it did.
        """
        at = start
        for number in range(TRIES):
            try:
                for piece in self._pieces(at, end):
                    os.pwrite(file, piece, at)
                    at += len(piece)
                    self.told(len(piece))
            except (BotoCoreError, StoreUnavailable) as error:
                if number == TRIES - 1:
                    raise StoreUnavailable(
                        f"{self.location} broke off {TRIES} times: {error}"
                    ) from error
            if at >= end:
                return
            time.sleep(self.ranges.pause_s * 2**number)
        raise StoreUnavailable(
            f"{self.location} broke off {TRIES} times, the last time at byte {at}"
        )

    def _pieces(self, start: int, end: int) -> Any:
        try:
            answer = self.client.get_object(
                Bucket=self.location.bucket,
                Key=self.location.key,
                Range=f"bytes={start}-{end - 1}",
                IfMatch=self.etag,
            )
        except ClientError as error:
            raise _told(error, self.location) from error
        if answer["ContentLength"] != end - start:
            raise ArtifactCorrupt(
                f"{self.location} gave {answer['ContentLength']} bytes where {end - start} were "
                f"asked"
            )
        return answer["Body"].iter_chunks(PIECE_BYTES)


def _read_all(reader: _Reader, file: int, size_bytes: int) -> None:
    """Read every range; the first that fails stops the others before their next one."""
    step = reader.ranges.size_bytes
    with ThreadPoolExecutor(reader.ranges.threads, thread_name_prefix="download") as pool:
        reads = [
            pool.submit(reader.read, file, start, min(start + step, size_bytes))
            for start in range(0, size_bytes, step)
        ]
        wait(reads, return_when=FIRST_EXCEPTION)
        pool.shutdown(cancel_futures=True)
    for read in reads:
        if not read.cancelled():
            read.result()


def _etag(client: "S3Client", location: Location, size_bytes: int) -> str:
    """What S3 calls the present bytes; raises ``ArtifactCorrupt`` before any are read where their
    number is wrong.
    """
    try:
        answer = client.head_object(Bucket=location.bucket, Key=location.key)
    except ClientError as error:
        raise _told(error, location) from error
    if answer["ContentLength"] != size_bytes:
        raise ArtifactCorrupt(
            f"{location} has {answer['ContentLength']} bytes, its manifest says {size_bytes}"
        )
    return answer["ETag"]


def _allocate(file: int, size_bytes: int) -> None:
    """Take the room on disk now, so that it cannot run out in the middle; macOS can only set the
    size.
    """
    if size_bytes and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size_bytes)
    else:
        os.ftruncate(file, size_bytes)


def _told(error: ClientError, location: Location) -> OnnxliftError:
    code = error.response["Error"]["Code"]
    if code in _MISSING:
        return ArtifactMissing(f"{location} does not exist; deploy again")
    if code in _CHANGED:
        return ArtifactCorrupt(f"{location} changed while it was read")
    if code in {"AccessDenied", "403", "Forbidden"}:
        return ArtifactMissing(
            f"{location} may not be read: {code}; it takes s3:GetObject on it, and its key's "
            f"decrypt"
        )
    return StoreUnavailable(f"{location} cannot be read: {code}")
