"""Events as API Gateway makes them."""

import json
from collections.abc import Mapping
from typing import Any

from onnxlift_runtime.http.message import Request, Response


def get(path: str) -> dict[str, Any]:
    return Request("GET", path, {}, {}, b"").to_event()


def infer(
    model: str, datatype: str, data: list[Any], headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """An inference of one row of ``data``, or of all of it where the model takes a shape."""
    shape = [1, len(data)] if datatype == "FP32" else [len(data)]
    body = {"inputs": [{"name": "x", "datatype": datatype, "shape": shape, "data": data}]}
    told = {"content-type": "application/json", **(headers or {})}
    return Request(
        "POST", f"/v2/models/{model}/infer", told, {}, json.dumps(body).encode()
    ).to_event()


def decoded(answer: Mapping[str, Any]) -> Any:
    """The JSON document in a function's answer."""
    response = Response.from_event(answer)
    return json.loads(response.body)
