"""Bodies in S3: payloads above the inline limit, results, uploads, and the objects callers drop."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from onnxlift_runtime.errors import (
    MalformedRequest,
    NotFound,
    PayloadTooLarge,
    RequestError,
    StoreUnavailable,
)
from onnxlift_runtime.http.message import HEADER_LENGTH
from onnxlift_runtime.jobs.job import Job, Payload
from onnxlift_runtime.names import PAYLOADS_PREFIX, RESULTS_PREFIX, uploads_prefix

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

INLINE_MAX_BYTES: Final = 64 * 1024
PRESIGNED_FOR_S: Final = 900
PIECE_BYTES: Final = 8 * 1024 * 1024
# What a reader of the object itself needs to understand it; S3 gives it back as ``x-amz-meta-…``.
_TOLD_HEADERS: Final = {HEADER_LENGTH.lower()}
# No object has a name that is too long, or a version that is no version.
_MISSING: Final = {"NoSuchKey", "404", "NoSuchVersion", "KeyTooLongError", "InvalidArgument"}
# Encrypted with a key that the function may not use, or archived.
_UNREADABLE: Final = {"AccessDenied", "403", "InvalidObjectState"}


class ObjectStore:
    """One bucket."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def keep(self, payload: Payload, key: str) -> Payload:
        """A payload as a job carries it: by value up to 64 KB, otherwise written under ``key`` and
        by reference.
        """
        if payload.body is None or payload.size_bytes <= INLINE_MAX_BYTES:
            return payload
        return self.put(payload, key)

    def put(self, payload: Payload, key: str) -> Payload:
        """Write the body under ``key``; returns the payload by reference."""
        answer = self._client.put_object(
            Bucket=self.bucket,
            Key=key,
            Body=payload.body or b"",
            ContentType=payload.headers.get("Content-Type", "application/octet-stream"),
            Metadata={
                name.lower(): value
                for name, value in payload.headers.items()
                if name.lower() in _TOLD_HEADERS
            },
        )
        version = answer.get("VersionId") or ""
        return Payload(
            payload.headers, payload.sha256, payload.size_bytes, None, self.bucket, key, version
        )

    def fetch(self, payload: Payload, max_bytes: int) -> bytes:
        """The body of a payload, compared with its SHA-256 where that is known.

        Raises ``PayloadTooLarge`` before anything is read, ``NotFound``, ``MalformedRequest``, and
        ``RequestError`` for an object that may not be read.
        """
        if payload.body is not None:
            return payload.body
        try:
            answer = self._client.get_object(**_located(payload))
        except ClientError as error:
            raise _told(error, payload.key) from error
        if answer["ContentLength"] > max_bytes:
            raise PayloadTooLarge(
                f"object {payload.key!r} has {answer['ContentLength']} bytes, at most {max_bytes} "
                f"are read"
            )
        try:
            body = answer["Body"].read()
        except BotoCoreError as error:
            raise StoreUnavailable(
                f"object {payload.key!r} broke off while it was read: {error}"
            ) from error
        if payload.sha256 and hashlib.sha256(body).hexdigest() != payload.sha256:
            raise MalformedRequest(
                f"object {payload.key!r} is not the one that was announced: its SHA-256 differs"
            )
        return body

    def fetch_upload(self, reference: str, caller: str, max_bytes: int) -> bytes:
        """The bytes that a caller uploaded; raises ``NotFound`` for another caller's, and
        ``PayloadTooLarge``.
        """
        prefix, _, name = reference.rpartition("/")
        if f"{prefix}/" != uploads_prefix(caller) or not name:
            raise NotFound(f"upload {reference!r} does not exist")
        return self.fetch(Payload({}, "", 0, None, self.bucket, reference), max_bytes)

    def copy(self, payload: Payload, key: str) -> None:
        """Write a payload's body under another key; one by reference is copied inside S3, up to its
        5 GB.
        """
        if payload.body is not None:
            self.put(payload, key)
            return
        self._client.copy_object(Bucket=self.bucket, Key=key, CopySource=_located(payload))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that do not exist are fine."""
        self._client.delete_objects(
            Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
        )

    def read(self, payload: Payload) -> Iterator[bytes]:
        """The body of a payload in pieces; raises ``NotFound`` and ``RequestError``."""
        if payload.body is not None:
            yield payload.body
            return
        try:
            answer = self._client.get_object(**_located(payload))
        except ClientError as error:
            raise _told(error, payload.key) from error
        yield from answer["Body"].iter_chunks(PIECE_BYTES)

    def write(self, pieces: Iterable[bytes], headers: Mapping[str, str], key: str) -> Payload:
        """Write a body that is larger than memory under ``key``: nobody sees it before it is
        complete.
        """
        located: Any = {"Bucket": self.bucket, "Key": key}
        upload = self._client.create_multipart_upload(
            **located, ContentType=headers["Content-Type"]
        )["UploadId"]
        located["UploadId"] = upload
        done: list[Any] = []
        digest, size_bytes = hashlib.sha256(), 0
        try:
            for number, piece in enumerate(_gathered(pieces), 1):
                answer = self._client.upload_part(**located, PartNumber=number, Body=piece)
                done.append({"PartNumber": number, "ETag": answer["ETag"]})
                digest.update(piece)
                size_bytes += len(piece)
            finished = self._client.complete_multipart_upload(
                **located, MultipartUpload={"Parts": done}
            )
        except BaseException:
            self._client.abort_multipart_upload(**located)
            raise
        version = finished.get("VersionId") or ""
        return Payload(headers, digest.hexdigest(), size_bytes, None, self.bucket, key, version)

    def describe(self, key: str) -> Payload:
        """An uploaded object by reference, without reading it; raises ``NotFound`` and
        ``RequestError``.
        """
        try:
            answer = self._client.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            raise _told(error, key) from error
        headers = {"Content-Type": answer.get("ContentType") or "application/octet-stream"}
        return Payload(
            headers,
            "",
            answer["ContentLength"],
            None,
            self.bucket,
            key,
            answer.get("VersionId") or "",
        )

    def presigned_get(self, payload: Payload) -> str:
        """A URL that gives the object to whoever holds it, for fifteen minutes."""
        return self._client.generate_presigned_url(
            "get_object", Params=_located(payload), ExpiresIn=PRESIGNED_FOR_S
        )

    def presigned_post(self, key: str, max_bytes: int, sha256_base64: str = "") -> dict[str, Any]:
        """A form that uploads one object of at most ``max_bytes`` under ``key``, held to its
        checksum if given.
        """
        fields: dict[str, str] = {}
        conditions: list[Any] = [["content-length-range", 0, max_bytes]]
        if sha256_base64:
            fields = {"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-sha256": sha256_base64}
            conditions += [{name: value} for name, value in fields.items()]
        return self._client.generate_presigned_post(
            self.bucket, key, Fields=fields, Conditions=conditions, ExpiresIn=PRESIGNED_FOR_S
        )


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that S3 takes as parts, which are 5 MiB at least but for the
    last.
    """
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        if len(waiting) >= PIECE_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def result_key(job: Job) -> str:
    """Where an attempt writes its result; no two attempts share a key, and readers find it only
    through the table.
    """
    return f"{RESULTS_PREFIX}{job.model}/{job.id}/{job.attempt}"


def payload_key(job: Job) -> str:
    """Where a submission writes a payload too large for the table; other bytes under the same id
    get another key.
    """
    return f"{PAYLOADS_PREFIX}{job.id}/{job.payload.sha256[:16]}"


def _located(payload: Payload) -> Any:
    located = {"Bucket": payload.bucket, "Key": payload.key}
    return located | ({"VersionId": payload.object_version} if payload.object_version else {})


def _told(error: ClientError, key: str) -> Exception:
    """What is wrong with the object that a caller named; any other failure stays S3's own."""
    code = error.response["Error"]["Code"]
    if code in _MISSING:
        return NotFound(f"object {key!r} does not exist")
    return RequestError(f"object {key!r} may not be read: {code}") if code in _UNREADABLE else error
