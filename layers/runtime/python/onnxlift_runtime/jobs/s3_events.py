"""S3's notifications about created objects, in both of its forms: its own, and EventBridge's.

Sources: "Event message structure" and "EventBridge event message structure" in the Amazon S3 User
Guide.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

from onnxlift_runtime.errors import MalformedRequest
from onnxlift_runtime.jobs.objects import Dropped
from onnxlift_runtime.tensors.wire import expect, expect_mapping

# Sequencers of one key compare as text once the shorter is padded on its right; they have up to 36
# digits today.
_ORDER_DIGITS: Final = 64


def decode_notification(body: str) -> tuple[Dropped, ...]:
    """The objects that a notification says were created; none for S3's test event and for other
    changes.

    Raises ``MalformedRequest`` for what is no notification.
    """
    try:
        document = expect_mapping(json.loads(body), "the notification")
        if document.get("Event") == "s3:TestEvent":
            return ()
        if "detail" in document:
            return tuple(_from_bridge(document))
        records = expect(document.get("Records"), list, "'Records'")
        return tuple(
            dropped
            for record in records
            for dropped in _from_record(expect_mapping(record, "a record"))
        )
    except (ValueError, RecursionError, KeyError) as error:
        raise MalformedRequest(f"the message is not a notification of S3: {error}") from error


def _from_record(record: Mapping[str, Any]) -> Iterator[Dropped]:
    if not str(record["eventName"]).startswith("ObjectCreated:"):
        return
    found = expect_mapping(record["s3"]["object"], "'object'")
    bucket, key = str(record["s3"]["bucket"]["name"]), unquote_plus(str(found["key"]))
    yield _dropped(
        bucket, key, found, str(found.get("versionId") or ""), str(record.get("eventTime") or "")
    )


def _from_bridge(event: Mapping[str, Any]) -> Iterator[Dropped]:
    """EventBridge's form, where the key stands as it is."""
    if event.get("detail-type") != "Object Created":
        return
    found = expect_mapping(event["detail"]["object"], "'object'")
    version = str(found.get("version-id") or "")
    yield _dropped(
        str(event["detail"]["bucket"]["name"]),
        str(found["key"]),
        found,
        version,
        str(event.get("time")),
    )


def _dropped(bucket: str, key: str, found: Mapping[str, Any], version: str, time: str) -> Dropped:
    """``order`` ends with the time, for S3's imitations, whose sequencer is absent or always the
    same.
    """
    sequencer = str(found.get("sequencer") or "").upper()
    mark = str(found.get("eTag") or found.get("etag") or "")
    order = f"{sequencer.ljust(_ORDER_DIGITS, '0')}@{time}"
    named = (
        "" if version == "null" else version
    )  # what every version is called while a bucket keeps only one
    return Dropped(bucket, key, int(found.get("size") or 0), named, order, mark)
