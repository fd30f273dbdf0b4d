"""The jobs and objects of a local run in a folder, so that the next run goes on with them.

``jobs.json`` holds the table's items, ``objects.json`` the versions of all objects in the order
they were written, and ``objects/`` the body of each. Messages are not kept: the sweep sends those
of unfinished jobs again.
"""

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from onnxlift.local.account import ACCOUNT, REGION
from onnxlift.local.moto.resources import client
from onnxlift_runtime import names

EVERY_S: Final = 5.0  # what a run that is killed loses at most
Versions = dict[tuple[str, str], str]


def save(service: str, endpoint_url: str, folder: Path) -> None:
    """Write what has changed since the last time; a run that dies in between leaves the earlier
    state whole.
    """
    (folder / "objects").mkdir(parents=True, exist_ok=True)
    s3, bucket = client("s3", endpoint_url), names.bucket_name(service, ACCOUNT, REGION)
    entries = [
        _save_object(s3, bucket, found, folder / "objects") for found in _versions(s3, bucket)
    ]
    _replace(folder / "objects.json", entries)
    items = _items(client("dynamodb", endpoint_url), names.table_name(service))
    _replace(folder / "jobs.json", list(items))
    kept = {entry["file"] for entry in entries}
    for path in (folder / "objects").iterdir():
        if path.name not in kept:
            path.unlink()


def restore(service: str, endpoint_url: str, folder: Path) -> None:
    """Put back what ``save`` wrote; nothing where there is nothing.

    Objects get new version ids, so those that jobs refer to are exchanged.
    """
    if not (folder / "jobs.json").exists():
        return
    s3, bucket = client("s3", endpoint_url), names.bucket_name(service, ACCOUNT, REGION)
    # These objects are not new: nobody is to be told of them.
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    renamed: Versions = {}
    for entry in json.loads((folder / "objects.json").read_text("utf-8")):
        body = (folder / "objects" / entry["file"]).read_bytes()
        answer = s3.put_object(
            Bucket=bucket, Key=entry["key"], Body=body, ContentType=entry["content_type"]
        )
        renamed[(entry["key"], entry["version"])] = answer["VersionId"]
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={"EventBridgeConfiguration": {}},
        SkipDestinationValidation=True,
    )
    dynamodb, table = client("dynamodb", endpoint_url), names.table_name(service)
    items = json.loads((folder / "jobs.json").read_text("utf-8"), object_hook=_decode_bytes)
    for item in items:
        dynamodb.put_item(TableName=table, Item=_with_versions(item, renamed))


def _versions(s3: Any, bucket: str) -> list[Mapping[str, Any]]:
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
    found = [version for page in pages for version in page.get("Versions", ())]
    return sorted(found, key=lambda version: version["LastModified"])


def _save_object(s3: Any, bucket: str, found: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """A version never changes: its body is written once."""
    key, version = found["Key"], found["VersionId"]
    path = folder / hashlib.sha256(f"{key}\0{version}".encode()).hexdigest()
    described = s3.head_object(Bucket=bucket, Key=key, VersionId=version)
    if not path.exists():
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(
            s3.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read()
        )
        unfinished.replace(path)
    content_type = described.get("ContentType") or "binary/octet-stream"
    return {"key": key, "version": version, "content_type": content_type, "file": path.name}


def _items(dynamodb: Any, table: str) -> Iterator[dict[str, Any]]:
    for page in dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        yield from page["Items"]


def _with_versions(item: dict[str, Any], renamed: Versions) -> dict[str, Any]:
    """An item whose payload and result name the versions that there are now."""
    for part in ("payload", "result"):
        fields = item.get(part, {}).get("M", {})
        place = (fields.get("key", {}).get("S", ""), fields.get("object_version", {}).get("S", ""))
        if place in renamed:
            fields["object_version"] = {"S": renamed[place]}
    return item


def _encode_bytes(value: bytes) -> dict[str, str]:
    """JSON's form of what it does not know, which in DynamoDB's items are bytes alone."""
    return {"base64": base64.b64encode(value).decode("ascii")}


def _decode_bytes(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["base64"]) if set(value) == {"base64"} else value


def _replace(path: Path, document: Any) -> None:
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(document, default=_encode_bytes), "utf-8")
    os.replace(unfinished, path)  # noqa: PTH105 - one step, or none
