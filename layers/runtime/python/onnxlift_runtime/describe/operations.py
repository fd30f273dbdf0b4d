"""The pieces that operations of the OpenAPI document are made of."""

from collections.abc import Mapping
from typing import Any, Final

from onnxlift_runtime.describe import schemas
from onnxlift_runtime.errors import (
    InferenceFailed,
    ModelUnavailable,
    NotFound,
    PayloadTooLarge,
    RequestError,
    UnsupportedEncoding,
)
from onnxlift_runtime.http.message import JSON
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.settings import Limits

Document = dict[str, Any]

_READ_ERRORS: Final = (404, 429, 500)
_RUN_ERRORS: Final = (400, 404, 413, 415, 429, 500, 503, 504)


def read(
    operation: str,
    tag: str,
    summary: str,
    schema: str | None,
    example: Any = None,
    errors: tuple[int, ...] = _READ_ERRORS,
) -> Document:
    """An operation that only reads; ``example`` is its exact answer where that is known."""
    content = {} if schema is None else {JSON: _media(schemas.ref(schema), example)}
    return {
        "operationId": operation,
        "summary": summary,
        "tags": [tag],
        "responses": {
            "200": {"description": "The answer.", "content": content},
            **_failures(errors),
        },
    }


def run(
    operation: str,
    manifest: Manifest,
    summary: str,
    request: str,
    response: str | None,
    example: Any,
) -> Document:
    """An operation that runs the model."""
    body = _media(schemas.ref(schemas.schema_name(manifest, request)), example)
    answer = (
        {}
        if response is None
        else {JSON: _media(schemas.ref(schemas.schema_name(manifest, response)), None)}
    )
    return {
        "operationId": operation,
        "summary": summary,
        "tags": [manifest.name],
        "requestBody": {"required": True, "content": {JSON: body}},
        "responses": {
            "200": {"description": "The answer.", "content": answer},
            **_failures(_RUN_ERRORS),
        },
    }


def _media(schema: schemas.Schema, example: Any) -> Document:
    return {"schema": schema} if example is None else {"schema": schema, "example": example}


def _failures(statuses: tuple[int, ...]) -> Document:
    return {
        str(status): {"$ref": f"#/components/responses/{_error_name(status)}"}
        for status in statuses
    }


def error_responses(limits: Limits) -> Document:
    """Every error in its one form, described in the words of its class."""
    described: Mapping[int, str] = {
        kind.status: kind.__doc__ or ""
        for kind in (
            RequestError,
            NotFound,
            PayloadTooLarge,
            UnsupportedEncoding,
            InferenceFailed,
            ModelUnavailable,
        )
    } | {
        429: "More requests than the service allows.",
        504: "The model took longer than one request may.",
    }
    described = {
        **described,
        413: f"{described[413]} At most {limits.max_body_bytes} bytes are taken.",
    }
    return {
        _error_name(status): _error_response(status, text)
        for status, text in sorted(described.items())
    }


def _error_response(status: int, text: str) -> Document:
    response: Document = {"description": text, "content": {JSON: {"schema": schemas.ref("Error")}}}
    if status in {429, 503}:
        wait = {
            "description": "Seconds to wait before the next try.",
            "schema": {"type": "integer"},
        }
        response["headers"] = {"Retry-After": wait}
    return response


def _error_name(status: int) -> str:
    return f"Error{status}"
