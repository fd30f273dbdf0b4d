"""One service and what can be asked of its models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Unpack
from urllib.parse import quote

import httpx

from onnxlift.client.answer import Answer, decode_answer
from onnxlift.client.jobs import JobRecord, Jobs
from onnxlift.client.requests import Terms, model_path, send_inference
from onnxlift.client.transport import Transport, read_document
from onnxlift_runtime.errors import InputMismatch, ServiceUnreachable
from onnxlift_runtime.http.encoding import encode_json
from onnxlift_runtime.http.message import JSON
from onnxlift_runtime.manifest import TensorSpec
from onnxlift_runtime.tensors.arrays import Array

FOLLOWED_S: Final = 60.0  # a job of a client that has no time limit of its own


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


class Client(Transport):
    """Calls to one service, which may lie below a base path such as API Gateway's stage."""

    def ready(self) -> bool:
        """Whether every model of the service can answer."""
        return self.send("GET", "/v2/health/ready").status_code == httpx.codes.OK

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
        return send_inference(self, model, inputs, headers, **terms)

    def predict(self, model: str, instances: Any) -> Any:
        """Run a model over TensorFlow Serving's REST API in row format; returns its
        ``predictions``.
        """
        body = encode_json({"instances": instances})
        answer = self.call(
            "POST", f"/v1/models/{quote(model, safe='')}:predict", body, {"Content-Type": JSON}
        )
        return read_document(answer, "predictions")["predictions"]

    def _follow(self, accepted: Mapping[str, Any]) -> Answer:
        jobs, job = Jobs(self), JobRecord.of(accepted)
        jobs.wait(job.id, self.timeout.read or FOLLOWED_S)
        return jobs.result(job.id)


def _specs(entries: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(entry["name"], entry["datatype"], tuple(entry["shape"])) for entry in entries
    )
