"""Calls to a service over HTTP, and what its answers say."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx

from onnxlift_runtime.errors import (
    ConfigInvalid,
    OnnxliftError,
    ServiceRefused,
    ServiceUnreachable,
)
from onnxlift_runtime.http.encoding import decode_json

_CLIENT_ERROR: Final = 400


class Transport:
    """A service's URL, the key for it, and the connections that stay open between calls.

    Every call raises ``ServiceUnreachable`` where nothing answers or the answer is foreign, and
    ``ServiceRefused`` with the service's own words for an error it reports; an API key that no
    header carries is a ``ConfigInvalid``.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        api_key: str | None = None,
        timeout_s: float = 30,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise ConfigInvalid(
                "the API key has characters that no header carries; it was expected in plain ASCII"
            )
        headers = {"x-api-key": api_key} if api_key else {}
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            headers=headers, timeout=timeout_s, transport=transport, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    @property
    def timeout(self) -> httpx.Timeout:
        """How long each step of a call may take."""
        return self._http.timeout

    def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Any call of the service, for what has no method here; redirects are not followed."""
        answer = self.send(method, path, body, headers)
        if answer.status_code >= _CLIENT_ERROR:
            raise ServiceRefused(answer.status_code, _told(answer))
        return answer

    def fetch(self, url: str) -> httpx.Response:
        """What lies at a URL that the service gave, without this client's key."""
        try:
            answer = httpx.get(url, timeout=self.timeout, trust_env=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServiceUnreachable(f"no answer from {url.partition('?')[0]}: {error}") from error
        if answer.status_code >= _CLIENT_ERROR:
            raise ServiceRefused(answer.status_code, answer.text[:200] or answer.reason_phrase)
        return answer

    def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Any call of the service; its answer may be an error."""
        try:
            return self._http.request(method, self.url + path, content=body, headers=headers)
        except httpx.TimeoutException as error:
            raise ServiceUnreachable(
                f"{self.url} did not answer in time: {type(error).__name__}"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error).rstrip(".")
            raise ServiceUnreachable(
                f"no answer from {self.url}: {why}; `onnxlift serve` starts a local service"
            ) from error


def read_document(answer: httpx.Response, *names: str) -> Mapping[str, Any]:
    """The JSON object of an answer, known to have ``names``; raises ``ServiceUnreachable`` for any
    other body.
    """
    try:
        document = decode_json(answer.content)
    except OnnxliftError as error:
        raise ServiceUnreachable(f"the answer of {answer.url} is not JSON") from error
    if not isinstance(document, dict):
        raise ServiceUnreachable(f"the answer of {answer.url} is not a JSON object")
    if missing := [name for name in names if name not in document]:
        raise ServiceUnreachable(f"the answer of {answer.url} has no {missing[0]!r}")
    return document


def _told(answer: httpx.Response) -> str:
    """The service's own words, or the start of whatever else came back."""
    try:
        document = read_document(answer)
        return str(document.get("error") or document.get("message") or document)
    except ServiceUnreachable:
        return answer.text[:200] or answer.reason_phrase
