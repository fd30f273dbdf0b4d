"""Objects into files: every byte at its place, whatever breaks off, and nothing left where it
cannot be had.
"""

from pathlib import Path
from typing import Any, Final

import pytest
from botocore.exceptions import IncompleteReadError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxlift_runtime.aws.files import TRIES, Location, Ranges, download, read_small
from onnxlift_runtime.errors import ArtifactCorrupt, ArtifactMissing, StoreUnavailable
from tests.support.errors import raises
from tests.support.gpu.buckets import BUCKET, Client, assets

__all__ = ["assets"]

WHERE: Final = Location(BUCKET, "weights")
SMALL: Final = Ranges(size_bytes=1000, threads=3, pause_s=0)


class Broken:
    """A body that breaks off after ``size`` bytes, with or without saying so."""

    def __init__(self, body: Any, size: int, *, silent: bool = False) -> None:
        self._body, self._size, self._silent = body, size, silent

    def iter_chunks(self, _size: int) -> Any:
        yield self._body.read()[: self._size]
        if not self._silent:
            raise IncompleteReadError(actual_bytes=self._size, expected_bytes=1000)


def content(size: int) -> bytes:
    return bytes(index * 7 % 251 for index in range(size))


def broken_first(size: int, *, times: int = 1, silent: bool = False) -> Any:
    def change(number: int, answer: Any) -> Any:
        return (
            {**answer, "Body": Broken(answer["Body"], size, silent=silent)}
            if number <= times
            else answer
        )

    return change


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(size=st.integers(0, 5000), step=st.integers(1, 2000))
def test_a_file_has_the_objects_bytes_for_any_size_and_range(
    size: int, step: int, assets: Any, tmp_path: Path
) -> None:
    step = max(step, size // 20)
    assets.put_object(Bucket=BUCKET, Key=WHERE.key, Body=content(size))
    pieces: list[int] = []

    download(assets, WHERE, size, tmp_path / "file", pieces.append, Ranges(step, 4, 0))

    assert (tmp_path / "file").read_bytes() == content(size)
    assert sum(pieces) == size


@pytest.mark.parametrize("silent", [False, True])
def test_a_range_that_breaks_off_goes_on_where_it_did(
    silent: bool, assets: Any, tmp_path: Path
) -> None:
    assets.put_object(Bucket=BUCKET, Key=WHERE.key, Body=content(900))
    client = Client(assets, broken_first(300, silent=silent))

    download(client, WHERE, 900, tmp_path / "file", lambda _size: None, SMALL)  # type: ignore[arg-type]

    assert (tmp_path / "file").read_bytes() == content(900)
    assert client.reads == ["bytes=0-899", "bytes=300-899"]


@pytest.mark.parametrize("silent", [False, True])
def test_a_store_that_keeps_breaking_off_is_unavailable_and_leaves_no_file(
    silent: bool, assets: Any, tmp_path: Path
) -> None:
    assets.put_object(Bucket=BUCKET, Key=WHERE.key, Body=content(900))
    client = Client(assets, broken_first(0, times=TRIES, silent=silent))

    with raises(StoreUnavailable, TRIES, "broke off"):
        download(client, WHERE, 900, tmp_path / "file", lambda _size: None, SMALL)  # type: ignore[arg-type]

    assert list(tmp_path.iterdir()) == []


def test_an_object_of_another_size_is_corrupt_before_anything_is_written(
    assets: Any, tmp_path: Path
) -> None:
    assets.put_object(Bucket=BUCKET, Key=WHERE.key, Body=content(10))
    client = Client(assets)

    with raises(ArtifactCorrupt, 10, 10**12):
        download(client, WHERE, 10**12, tmp_path / "file", lambda _size: None)  # type: ignore[arg-type]

    assert (client.reads, list(tmp_path.iterdir())) == ([], [])


def test_an_object_that_changes_meanwhile_is_corrupt(assets: Any, tmp_path: Path) -> None:
    assets.put_object(Bucket=BUCKET, Key=WHERE.key, Body=content(3000))

    def change(number: int, answer: Any) -> Any:
        assets.put_object(Bucket=BUCKET, Key=WHERE.key, Body=content(3000)[::-1])
        return answer

    with raises(ArtifactCorrupt, "changed"):
        download(
            Client(assets, change),  # type: ignore[arg-type]
            WHERE,
            3000,
            tmp_path / "file",
            lambda _size: None,
            Ranges(1000, 1, 0),
        )

    assert list(tmp_path.iterdir()) == []


def test_an_object_that_does_not_exist_is_missing(assets: Any, tmp_path: Path) -> None:
    with raises(ArtifactMissing, "s3://assets/weights"):
        download(assets, WHERE, 1, tmp_path / "file", lambda _size: None)


def test_a_small_object_is_read_whole_and_a_large_one_refused(assets: Any) -> None:
    assets.put_object(Bucket=BUCKET, Key=WHERE.key, Body=b"12345")

    assert read_small(assets, WHERE) == b"12345"
    with raises(ArtifactCorrupt, 5, 4):
        read_small(assets, WHERE, 4)


@pytest.mark.parametrize(
    "url", ["", "https://bucket/key", "s3://bucket", "s3:///key", "bucket/key"]
)
def test_what_names_no_object_is_refused(url: str) -> None:
    with raises(ArtifactMissing, "s3://bucket/key"):
        Location.parse(url)


def test_an_address_is_read_back_as_it_is_written() -> None:
    assert Location.parse("s3://bucket/a/b c") == Location("bucket", "a/b c")
    assert str(Location("bucket", "a/b c")) == "s3://bucket/a/b c"
