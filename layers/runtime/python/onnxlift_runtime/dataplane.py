"""From a request to an answer: the one path that every protocol and every transport takes.

``routes(engine)`` lists the endpoints. Inference decodes the request against the manifest, runs the engine and encodes
what comes back; everything else is answered from the catalog.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Final

import numpy as np

from onnxlift_runtime import catalog, classification, tensors, tfs
from onnxlift_runtime.datatypes import datatype
from onnxlift_runtime.engine import Engine
from onnxlift_runtime.http import JSON, Request, Response, Route
from onnxlift_runtime.inference import decode_call, encode_call
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.payload import decode_json, decompress, encode_json
from onnxlift_runtime.payload import encode_json_with_nan as encode_nan
from onnxlift_runtime.wire import WireTensor, expect, expect_mapping

Params = Mapping[str, str | None]

INFER_PATH: Final = r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer"
_MODEL: Final = r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?"


def routes(engine: Engine) -> tuple[Route, ...]:
    """Every endpoint of both protocols."""
    table = (
        ("GET", r"/v2/?", _server_metadata),
        ("GET", r"/v2/health/live", _live),
        ("GET", r"/v2/health/ready", _ready),
        ("GET", r"/v2/models/?", _model_list),
        ("POST", r"/v2/repository/index", _repository_index),
        ("GET", _MODEL, _model_metadata),
        ("GET", _MODEL + "/ready", _model_ready),
        ("GET", _MODEL + "/config", _model_config),
        ("POST", INFER_PATH, infer),
        ("GET", r"/v1/models/?", _model_list),
        ("GET", r"(?i:/v1/models/.*)", _serving_get),
        ("POST", r"(?i:/v1/models/.*)", _serving_post),
    )
    return tuple(Route(method, re.compile(pattern), partial(answer, engine)) for method, pattern, answer in table)


def _server_metadata(_engine: Engine, _request: Request, _params: Params) -> Response:
    return Response.json(catalog.server_metadata())


def _live(_engine: Engine, _request: Request, _params: Params) -> Response:
    return Response.json({"live": True})


def _ready(engine: Engine, _request: Request, _params: Params) -> Response:
    """Ready while every version that was deployed can serve; otherwise 503 with the first reason."""
    for why in engine.failures.values():
        return Response.json({"ready": False, "error": why}, 503, {"Retry-After": "2"})
    return Response.json({"ready": True})


def _model_list(engine: Engine, _request: Request, _params: Params) -> Response:
    return Response.json(catalog.model_list(engine.catalog))


def _repository_index(engine: Engine, request: Request, _params: Params) -> Response:
    body = _body(engine, request).strip() or b"{}"
    document = expect_mapping(decode_json(body, max_bytes=engine.limits.max_json_bytes), "the request")
    ready_only = expect(document.get("ready", False), bool, "'ready'")
    entries = catalog.repository_index(engine.catalog, engine.failures)
    return Response.json([entry for entry in entries if entry["state"] == "READY" or not ready_only])


def _model_metadata(engine: Engine, _request: Request, params: Params) -> Response:
    return Response.json(catalog.model_metadata(engine.catalog, _find(engine, params)))


def _model_ready(engine: Engine, _request: Request, params: Params) -> Response:
    manifest = _find(engine, params)
    why = engine.failures.get((manifest.name, manifest.version))
    if why is None:
        return Response.json({"name": manifest.name, "ready": True})
    return Response.json({"name": manifest.name, "ready": False, "error": why}, 503, {"Retry-After": "2"})


def _model_config(engine: Engine, _request: Request, params: Params) -> Response:
    return Response.json(catalog.model_config(_find(engine, params)))


def infer(engine: Engine, request: Request, params: Params) -> Response:
    """Open Inference Protocol inference, tensors as JSON or binary in both directions."""
    call = decode_call(engine.limits, _find(engine, params), request.headers, request.body)
    return encode_call(call, engine.run(call.manifest, call.arrays, call.output_names))


def _serving_get(engine: Engine, request: Request, _params: Params) -> Response:
    """TensorFlow Serving's status and metadata."""
    target = tfs.decode_path(request.method, request.path)
    if target.verb == "metadata":
        found = engine.catalog.find(target.model, target.version, target.label)
        return Response.json(catalog.serving_metadata(found))
    one = target.version or target.label
    found_all = engine.catalog.versions(target.model)
    asked = (engine.catalog.find(target.model, target.version, target.label),) if one else found_all
    return Response.json(catalog.serving_status(asked, engine.failures))


def _serving_post(engine: Engine, request: Request, _params: Params) -> Response:
    """TensorFlow Serving's predict, classify and regress."""
    target = tfs.decode_path(request.method, request.path)
    manifest = engine.catalog.find(target.model, target.version, target.label)
    body = _body(engine, request)
    names = [spec.name for spec in manifest.outputs]
    if target.verb == "predict":
        call = tfs.decode_predict(body, manifest, engine.limits)
        return _predictions(call, _run(engine, manifest, call.inputs, names), manifest)
    arrays = _run(engine, manifest, tfs.decode_examples(body, manifest, engine.limits), names)
    answer = classification.classify if target.verb == "classify" else classification.regress
    return Response(200, encode_nan({"results": answer(arrays, manifest)}), {"Content-Type": JSON})


def _predictions(call: tfs.PredictRequest, arrays: Mapping[str, tensors.Array], manifest: Manifest) -> Response:
    """The fast JSON writer knows no NaN, which this protocol writes as a bare word; such answers take the slow one."""
    finite = all(_is_finite(arrays[spec.name], spec.datatype) for spec in manifest.outputs)
    outputs = [tensors.encode(arrays[spec.name], spec.name, spec.datatype, binary=False) for spec in manifest.outputs]
    if finite:
        body = encode_json(tfs.encode_predict(call, outputs))
    else:
        body = encode_nan(tfs.encode_predict(call, [_with_short_floats(tensor) for tensor in outputs]))
    return Response(200, body, {"Content-Type": JSON})


def _is_finite(array: tensors.Array, datatype_name: str) -> bool:
    if datatype(datatype_name).kind != "float":
        return True
    return bool(np.isfinite(tensors.bfloat16_to_float32(array) if datatype_name == "BF16" else array).all())


def _with_short_floats(tensor: WireTensor) -> WireTensor:
    if datatype(tensor.datatype).kind != "float":
        return tensor
    return WireTensor(tensor.name, tensor.datatype, tensor.shape, tensors.shortest_floats(tensor.data))


def _run(
    engine: Engine, manifest: Manifest, inputs: tuple[WireTensor, ...], outputs: list[str]
) -> dict[str, tensors.Array]:
    return engine.run(manifest, {tensor.name: tensors.decode(tensor) for tensor in inputs}, outputs)


def _find(engine: Engine, params: Params) -> Manifest:
    return engine.catalog.find(params["model"] or "", params["version"])


def _body(engine: Engine, request: Request) -> bytes:
    return decompress(request.body, request.headers.get("content-encoding", ""), engine.limits.max_decompressed_bytes)
