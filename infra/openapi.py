"""The API's OpenAPI document as API Gateway reads it: the same paths, with a function behind each
of them.

API Gateway understands part of OpenAPI (its guide lists what not, under "important notes"). So it
gets the paths and the methods, and not the schemas: the functions check bodies themselves, and
callers read ``/openapi.json``.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from onnxlift.hosting import Throttle
from onnxlift.placement import API_TIMEOUT_MS
from onnxlift_runtime.http.routes import (
    MODEL_ROOT,
    SERVING_ROOT,
    is_below_version,
    named_model,
)
from onnxlift_runtime.settings import Limits

Document = dict[str, Any]

ANY: Final = "x-amazon-apigateway-any-method"
_REST: Final = "{proxy+}"
MAX_RESOURCES: Final = 300  # API Gateway's quota, which can be raised on request


@dataclass(frozen=True, slots=True)
class Targets:
    """The invocation URI of each function: ``models`` by model name, ``control`` for every other
    path.
    """

    control: str
    models: Mapping[str, str]

    def uri(self, path: str) -> str:
        """The URI of the function that answers ``path``."""
        model = named_model(path)
        return self.models[model] if model else self.control


def gateway_document(
    document: Mapping[str, Any], targets: Targets, throttle: Throttle, limits: Limits
) -> Document:
    """Turn the API's document into the body of a REST API.

    Paths below a version or a label go through the model's ``{proxy+}``: listing them would use up
    API Gateway's 300 resources with a dozen models. Methods that the document does not list go to
    the function too, which answers 405; API Gateway itself would ask for an authentication token.
    """
    security = document.get("security", [])
    gateway: Document = {
        "openapi": document["openapi"],
        "info": {"title": document["info"]["title"], "version": document["info"]["version"]},
        "paths": dict(_paths(document, targets)),
        "x-amazon-apigateway-binary-media-types": ["*/*"],
        "x-amazon-apigateway-gateway-responses": gateway_responses(throttle, limits),
    }
    if security:
        gateway["components"] = {"securitySchemes": document["components"]["securitySchemes"]}
        gateway["x-amazon-apigateway-api-key-source"] = "HEADER"
        for methods in gateway["paths"].values():
            for method in methods.values():
                method["security"] = security  # the import reads it at each method, not at the top
    return gateway


def resource_count(paths: Iterable[str]) -> int:
    """How many of API Gateway's resources the paths take: one for each part of a path that no other
    shares.
    """
    resources: set[tuple[str, ...]] = set()
    for path in paths:
        parts = tuple(filter(None, path.split("/")))
        resources |= {parts[:length] for length in range(len(parts) + 1)}
    return len(resources)


def gateway_responses(throttle: Throttle, limits: Limits) -> Document:
    """What API Gateway answers on its own account, in the form of every other error of the
    service.
    """
    slow_down = (
        f"too many requests: the service takes {throttle.rate} in a second; try again in a second"
    )
    too_large = (
        f"the request is too large: one carries at most {limits.max_body_bytes} bytes; "
        "send fewer rows at once, or binary tensors, which are shorter than JSON"
    )
    late = (
        f"no answer within {API_TIMEOUT_MS / 1000:g} s, the time that the API waits; send "
        f"fewer rows at once"
    )
    filtered = (
        "the firewall refuses this address: it has a bad repute, or sent more than its "
        "share in five minutes"
    )
    return {
        "DEFAULT_4XX": {
            "responseTemplates": {"application/json": '{"error": $context.error.messageString}'}
        },
        "DEFAULT_5XX": {
            "responseTemplates": {"application/json": '{"error": $context.error.messageString}'}
        },
        "INVALID_API_KEY": _refusal(
            403, "the header x-api-key is missing, or holds a key that is not valid"
        ),
        "WAF_FILTERED": _refusal(403, filtered),
        "REQUEST_TOO_LARGE": _refusal(413, too_large),
        "THROTTLED": _refusal(429, slow_down, retry_after_s=1),
        "QUOTA_EXCEEDED": _refusal(
            429, "the quota of this API key is used up; try again later", retry_after_s=3600
        ),
        "INTEGRATION_FAILURE": _refusal(
            503, "the function could not be reached; try again", retry_after_s=2
        ),
        "INTEGRATION_TIMEOUT": _refusal(504, late),
    }


def _refusal(status: int, error: str, *, retry_after_s: int | None = None) -> Document:
    response: Document = {
        "statusCode": str(status),
        "responseTemplates": {"application/json": json.dumps({"error": error})},
    }
    if retry_after_s is not None:
        response["responseParameters"] = {
            "gatewayresponse.header.Retry-After": f"'{retry_after_s}'"
        }
    return response


def _paths(document: Mapping[str, Any], targets: Targets) -> Iterator[tuple[str, Document]]:
    for path, methods in document["paths"].items():
        if not is_below_version(path):
            integration = _integration(targets.uri(path))
            yield (
                path,
                {name: _method(method) | integration for name, method in methods.items()}
                | _any(integration),
            )
    for name, uri in targets.models.items():
        for root in (SERVING_ROOT, MODEL_ROOT):
            yield f"{root.format(model=name)}/{_REST}", _everything_below(uri)
    yield "/", _any(_integration(targets.control))
    yield f"/{_REST}", _everything_below(targets.control)


def _method(operation: Mapping[str, Any]) -> Document:
    answer = operation["responses"]["200"]["description"]
    named = [
        parameter for parameter in operation.get("parameters", ()) if parameter["in"] == "path"
    ]
    return {
        "operationId": operation["operationId"],
        "summary": operation["summary"],
        "responses": {"200": {"description": answer}},
        **({"parameters": named} if named else {}),
    }


def _everything_below(uri: str) -> Document:
    proxy = {"name": "proxy", "in": "path", "required": True, "schema": {"type": "string"}}
    return {ANY: {"parameters": [proxy], **_integration(uri)}}


def _any(integration: Document) -> Document:
    return {ANY: integration}


def _integration(uri: str) -> Document:
    return {
        "x-amazon-apigateway-integration": {
            "type": "aws_proxy",
            "httpMethod": "POST",
            "uri": uri,
            "passthroughBehavior": "when_no_match",
            "timeoutInMillis": API_TIMEOUT_MS,
        }
    }
