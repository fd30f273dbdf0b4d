"""A bucket in moto with the files of artifacts and the index that a deployment writes, and a client
that can fail.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import boto3
import pytest

from onnxlift_runtime.manifest import MANIFEST_NAME, Manifest
from tests.support.runtime.cloud import one_at_a_time

BUCKET: Final = "assets"
INDEX: Final = "index.json"
URL: Final = f"s3://{BUCKET}/{INDEX}"


@pytest.fixture
def assets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """moto's S3 with an empty bucket of assets."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with one_at_a_time():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client


def upload(client: Any, root: Path, *manifests: Manifest) -> None:
    """Put artifacts below ``root`` into the bucket, each file under a key that says nothing about
    it.
    """
    models = []
    for manifest in manifests:
        folder = root / manifest.name / manifest.version
        keys = {
            entry.path: f"{manifest.name}-{manifest.version}-{entry.sha256[:8]}"
            for entry in manifest.files
        }
        for name, key in keys.items():
            client.put_object(Bucket=BUCKET, Key=key, Body=(folder / name).read_bytes())
        models.append({"manifest": json.loads((folder / MANIFEST_NAME).read_text()), "files": keys})
    client.put_object(Bucket=BUCKET, Key=INDEX, Body=json.dumps({"models": models}))


class Client:
    """The real client, but for reads that ``break_read`` changes; ``reads`` are the ranges that
    were asked for.
    """

    def __init__(
        self, client: Any, break_read: Callable[[int, Any], Any] = lambda _number, answer: answer
    ) -> None:
        self._client = client
        self._break_read = break_read
        self.reads: list[str] = []

    def get_object(self, **request: Any) -> Any:
        self.reads.append(request.get("Range", ""))
        return self._break_read(len(self.reads), self._client.get_object(**request))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)
