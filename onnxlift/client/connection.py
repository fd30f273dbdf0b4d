"""One service's URL and what can be asked of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, TypedDict, Unpack
from urllib.parse import quote

import httpx

from onnxlift.client.answer import Answer, decode_answer
from onnxlift_runtime.errors import (
    ConfigInvalid,
    InputMismatch,
    OnnxliftError,
    ServiceRefused,
    ServiceUnreachable,
)
from onnxlift_runtime.http.encoding import decode_json, encode_json
from onnxlift_runtime.http.message import JSON, OCTET_STREAM
from onnxlift_runtime.manifest import TensorSpec
from onnxlift_runtime.protocols.oip import HEADER_LENGTH
from onnxlift_runtime.protocols.oip_encoding import encode_request
from onnxlift_runtime.tensors.arrays import Array, encode

FOLLOWED_S: Final = 60.0  # a job of a client that has no time limit of its own
_CLIENT_ERROR: Final = 400


class Terms(TypedDict, total=False):
    """How an inference is asked for.

    ``version`` is the newest when absent; ``binary``, true when absent, sends and asks for raw
    tensors instead of JSON; ``classes`` asks for the best k classes of the outputs it names instead
    of tensors.
    """

    version: str | None
    binary: bool
    classes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a service says about one model."""

    name: str
    versions: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def input(self, name: str) -> TensorSpec:
        """The input called ``name``; raises ``InputMismatch`` with the names there are."""
        for spec in self.inputs:
            if spec.name == name:
                return spec
        known = ", ".join(repr(spec.name) for spec in self.inputs)
        raise InputMismatch(f"model {self.name!r} has no input {name!r}; its inputs: {known}")


class Client:
    """Calls to one service, which may lie below a base path such as API Gateway's stage.

    Every call raises ``ServiceUnreachable`` where nothing answers or the answer is foreign, and
    ``ServiceRefused`` with the service's own words for an error it tells; an API key that no header
    carries is a ``ConfigInvalid``.
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

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def ready(self) -> bool:
        """Whether every model of the service can answer."""
        return self._send("GET", "/v2/health/ready").status_code == httpx.codes.OK

    def models(self) -> tuple[str, ...]:
        """The names of the service's models."""
        return tuple(read_document(self.call("GET", "/v2/models"), "models")["models"])

    def metadata(self, model: str, version: str | None = None) -> ModelMetadata:
        """Inputs, outputs and versions of a model."""
        document = read_document(self.call("GET", model_path(model, version)))
        try:
            inputs, outputs = map(_specs, (document["inputs"], document["outputs"]))
            return ModelMetadata(
                document["name"], tuple(document.get("versions", ())), inputs, outputs
            )
        except (KeyError, TypeError) as error:
            raise ServiceUnreachable(
                f"{self.url} tells no metadata of model {model!r}: {error!r}"
            ) from error

    def infer(
        self, model: str, inputs: Mapping[str, tuple[str, Array]], **terms: Unpack[Terms]
    ) -> Answer:
        """Run a model over the Open Inference Protocol.

        ``inputs`` maps a name to (datatype, array with the batch dimension). A request that the
        service makes a job of is followed to its end, as long as an answer is waited for.
        """
        answer = self.ask(model, inputs, {}, **terms)
        if answer.status_code == httpx.codes.ACCEPTED:
            return self._follow(read_document(answer))
        return decode_answer(answer.content, answer.headers)

    def ask(
        self,
        model: str,
        inputs: Mapping[str, tuple[str, Array]],
        headers: Mapping[str, str],
        **terms: Unpack[Terms],
    ) -> httpx.Response:
        """What the service answers to an inference request with further ``headers``: the outputs,
        or a job.
        """
        body, own = encode_inference(
            inputs, binary=terms.get("binary", True), classes=terms.get("classes") or {}
        )
        return self.call(
            "POST", model_path(model, terms.get("version")) + "/infer", body, {**own, **headers}
        )

    def predict(self, model: str, instances: Any) -> Any:
        """Run a model over TensorFlow Serving's REST API in row format; returns its
        ``predictions``.
        """
        body = encode_json({"instances": instances})
        answer = self.call(
            "POST", f"/v1/models/{quote(model, safe='')}:predict", body, {"Content-Type": JSON}
        )
        return read_document(answer, "predictions")["predictions"]

    def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Any call of the service, for what has no method here; redirects are not followed."""
        answer = self._send(method, path, body, headers)
        if answer.status_code >= _CLIENT_ERROR:
            raise ServiceRefused(answer.status_code, _told(answer))
        return answer

    def fetch(self, url: str) -> httpx.Response:
        """What lies at a URL that the service gave, without this client's key."""
        try:
            answer = httpx.get(url, timeout=self._http.timeout, trust_env=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServiceUnreachable(f"no answer from {url.partition('?')[0]}: {error}") from error
        if answer.status_code >= _CLIENT_ERROR:
            raise ServiceRefused(answer.status_code, answer.text[:200] or answer.reason_phrase)
        return answer

    def _follow(self, accepted: Mapping[str, Any]) -> Answer:
        from onnxlift.client.jobs import JobRecord, Jobs  # which work with a client

        jobs, job = Jobs(self), JobRecord.of(accepted)
        jobs.wait(job.id, self._http.timeout.read or FOLLOWED_S)
        return jobs.result(job.id)

    def _send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
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


def encode_inference(
    inputs: Mapping[str, tuple[str, Array]], *, binary: bool, classes: Mapping[str, int]
) -> tuple[bytes, dict[str, str]]:
    """The body of an inference request and the headers that give it meaning."""
    tensors = [
        encode(array, name, datatype, binary=binary) for name, (datatype, array) in inputs.items()
    ]
    body, json_length = encode_request(tensors, binary_output=binary, classes=classes)
    if binary:
        return body, {"Content-Type": OCTET_STREAM, HEADER_LENGTH: str(json_length)}
    return body, {"Content-Type": JSON}


def model_path(model: str, version: str | None) -> str:
    """The path of a model, or of one version of it."""
    path = f"/v2/models/{quote(model, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


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


def _specs(entries: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(entry["name"], entry["datatype"], tuple(entry["shape"])) for entry in entries
    )
