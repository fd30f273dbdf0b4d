"""Events as API Gateway and function URLs hand them to a function, with all that comes along."""

import base64
from typing import Any

HTTP_HEADERS = {
    "host": "abc.execute-api.eu-central-1.amazonaws.com",
    "content-length": "2",
    "x-two": "a,b",
}


def rest(
    method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """A REST API's event (payload 1.0), whose body is text where it is UTF-8."""
    sent = {"Accept": "application/json", "CloudFront-Viewer-Country": "DE", **(headers or {})}
    text, encoded = _body(body)
    return {
        "resource": "/v2/models/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": {**sent, "Accept": "text/html,application/json"},
        "multiValueHeaders": {
            **{name: [value] for name, value in sent.items()},
            "Accept": ["text/html", "application/json"],
        },
        "queryStringParameters": {"timing": "on"},
        "multiValueQueryStringParameters": {"timing": ["off", "on"]},
        "pathParameters": {"proxy": path.removeprefix("/")},
        "stageVariables": None,
        "requestContext": {
            "resourceId": "us4z18",
            "resourcePath": "/v2/models/{proxy+}",
            "httpMethod": method,
            "path": f"/prod{path}",
            "stage": "prod",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "identity": {"apiKeyId": "abcdefg", "sourceIp": "192.0.2.1", "userAgent": "client/1"},
            "apiId": "wt6mne2s9k",
        },
        "body": text,
        "isBase64Encoded": encoded,
    }


def http_api(
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    *,
    stage: str = "$default",
) -> dict[str, Any]:
    """An HTTP API's event (payload 2.0): lower-case headers, the stage before the path, the body
    always base64.
    """
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            **HTTP_HEADERS,
            **{name.lower(): value for name, value in (headers or {}).items()},
        },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abc",
            "domainName": HTTP_HEADERS["host"],
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "client/1",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": stage,
            "timeEpoch": 1583348638390,
        },
        "isBase64Encoded": body is not None,
    }
    return event if body is None else event | {"body": base64.b64encode(body).decode()}


def function_url(
    method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """A function URL's event: as HTTP API's, its path still escaped."""
    event = http_api(method, path, body, headers)
    event["requestContext"]["domainName"] = "abc.lambda-url.eu-central-1.on.aws"
    return event


def _body(body: bytes | None) -> tuple[str | None, bool]:
    if body is None:
        return None, False
    try:
        return body.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), True
