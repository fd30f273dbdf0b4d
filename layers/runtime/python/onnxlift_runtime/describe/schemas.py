"""JSON Schemas (OpenAPI 3.0 dialect) of what both protocols send, with each model's own names,
datatypes and shapes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from onnxlift_runtime.manifest import Manifest, TensorSpec
from onnxlift_runtime.tensors.datatypes import Datatype, datatype
from onnxlift_runtime.tensors.rows import takes_rows

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_BOOLEAN: Final[Schema] = {"type": "boolean"}
_PARAMETERS: Final[Schema] = {
    "type": "object",
    "additionalProperties": {
        "anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]
    },
}


def ref(name: str) -> Schema:
    """A reference to one of the document's schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def server_schemas() -> dict[str, Schema]:
    """The schemas that are the same for every model."""
    entry = _object(dict.fromkeys(("name", "version", "state", "reason"), _TEXT))
    return {
        "Error": _object(
            {"error": {"type": "string", "description": "What, which, and what was expected."}}
        ),
        "ServerMetadata": _object({"name": _TEXT, "version": _TEXT, "extensions": _array(_TEXT)}),
        "Live": _object({"live": _BOOLEAN}),
        "Ready": _object({"ready": _BOOLEAN}),
        "ModelReady": _object({"name": _TEXT, "ready": _BOOLEAN}),
        "ModelList": _object({"models": _array(_TEXT)}),
        "RepositoryIndexRequest": _object({"ready": _BOOLEAN}, required=()),
        "RepositoryIndex": _array(entry),
        "ModelMetadata": _model_metadata(),
        "ModelConfig": {
            "type": "object",
            "description": "Triton's model configuration.",
            "additionalProperties": True,
        },
        "ServingStatus": _serving_status(),
        "ServingMetadata": _object(
            {"model_spec": {"type": "object"}, "metadata": {"type": "object"}}
        ),
        "ClassifyResponse": _results(
            _array(_array({}, exactly=2)), "A [label, score] pair for every class."
        ),
        "RegressResponse": _results({"type": "number"}, "One value for each example."),
    }


def model_schemas(manifest: Manifest) -> dict[str, Schema]:
    """The schemas of one version's requests and answers, named ``<model>.<version>.<what>``."""
    schemas = {
        "InferRequest": _infer_request(manifest),
        "InferResponse": _infer_response(manifest),
        "PredictRequest": _predict_request(manifest),
        "PredictResponse": _predict_response(manifest),
        "ExamplesRequest": _examples_request(manifest),
    }
    return {schema_name(manifest, what): schema for what, schema in schemas.items()}


def schema_name(manifest: Manifest, what: str) -> str:
    """The name under which ``model_schemas`` lists a schema."""
    return f"{manifest.name}.{manifest.version}.{what}"


def batch_dims(spec: TensorSpec) -> tuple[int, ...]:
    """The dimensions of one row, which is what the row layout of TensorFlow Serving lists."""
    return spec.shape[1:]


def _infer_request(manifest: Manifest) -> Schema:
    """Open Inference Protocol, "Inference Request JSON Object", with the binary tensor data
    extension.
    """
    inputs = [
        _tensor(spec, (spec.datatype,), required=("name", "datatype", "shape"))
        for spec in manifest.inputs
    ]
    wanted = _object(
        {
            "name": {"type": "string", "enum": [spec.name for spec in manifest.outputs]},
            "parameters": _object(
                {"binary_data": _BOOLEAN, "classification": _whole(1)}, required=()
            ),
        },
        required=("name",),
    )
    parameters = {**_PARAMETERS, "properties": {"binary_data_output": _BOOLEAN}}
    return _object(
        {
            "id": _TEXT,
            "parameters": parameters,
            "inputs": _array(_one_of(inputs), exactly=len(inputs)),
            "outputs": _array(wanted),
        },
        required=("inputs",),
    )


def _infer_response(manifest: Manifest) -> Schema:
    """Open Inference Protocol, "Inference Response JSON Object"."""
    # The classification extension answers with BYTES, whatever the output's own datatype is.
    outputs = [
        _tensor(
            spec,
            tuple(dict.fromkeys((spec.datatype, "BYTES"))),
            required=("name", "datatype", "shape"),
        )
        for spec in manifest.outputs
    ]
    return _object(
        {
            "id": _TEXT,
            "model_name": {"type": "string", "enum": [manifest.name]},
            "model_version": {"type": "string", "enum": [manifest.version]},
            "parameters": _PARAMETERS,
            "outputs": _array(_one_of(outputs)),
        },
        required=("model_name", "model_version", "outputs"),
    )


def _tensor(spec: TensorSpec, datatypes: Sequence[str], required: Sequence[str]) -> Schema:
    dims = f"[{', '.join(map(str, spec.shape))}]"
    elements = _any_of([_element(datatype(name)) for name in datatypes])
    shape = _array(_whole(0))
    if len(datatypes) == 1:
        shape |= {"minItems": len(spec.shape), "maxItems": len(spec.shape)}
    return _object(
        {
            "name": {"type": "string", "enum": [spec.name]},
            "datatype": {"type": "string", "enum": list(datatypes)},
            "shape": shape | {"description": f"{dims}, where -1 is any size."},
            "data": _array(_any_of([elements, _array({})]))
            | {"description": "All elements in row-major order, flat or nested as the shape says."},
            "parameters": _object({"binary_data_size": _whole(0)}, required=()),
        },
        required=required,
    )


def _predict_request(manifest: Manifest) -> Schema:
    """TensorFlow Serving's predict request: rows under ``instances``, or whole tensors under
    ``inputs``.
    """
    row = {spec.name: _nested(_serving_element(spec), batch_dims(spec)) for spec in manifest.inputs}
    column = {spec.name: _nested(_serving_element(spec), spec.shape) for spec in manifest.inputs}
    layouts = {
        "instances": _array(_named_or_only(row)) | {"minItems": 1},
        "inputs": _named_or_only(column),
    }
    if not takes_rows(manifest):
        del layouts["instances"]
    return _one_of(
        [
            _object({"signature_name": _TEXT, key: schema}, required=(key,), open_ended=True)
            for key, schema in layouts.items()
        ]
    )


def _predict_response(manifest: Manifest) -> Schema:
    row = {
        spec.name: _nested(_serving_element(spec), batch_dims(spec)) for spec in manifest.outputs
    }
    column = {spec.name: _nested(_serving_element(spec), spec.shape) for spec in manifest.outputs}
    one = len(manifest.outputs) == 1
    rows, columns = (
        (next(iter(row.values())), next(iter(column.values())))
        if one
        else (_object(row), _object(column))
    )
    layouts = [_object({"predictions": _array(rows)}), _object({"outputs": columns})]
    return _one_of(layouts if takes_rows(manifest) else layouts[1:])


def _examples_request(manifest: Manifest) -> Schema:
    """TensorFlow Serving's classify and regress request; what all examples share may stand in
    ``context``.
    """
    features = {
        spec.name: _any_of([_serving_element(spec), _array({})])
        | {"description": f"{spec.datatype} {spec.shape[1:]}"}
        for spec in manifest.inputs
    }
    return _object(
        {
            "signature_name": _TEXT,
            "context": _object(features, required=()),
            "examples": _array(_object(features, required=())) | {"minItems": 1},
        },
        required=("examples",),
    )


def _model_metadata() -> Schema:
    tensor = _object({"name": _TEXT, "datatype": _TEXT, "shape": _array({"type": "integer"})})
    return _object(
        {
            "name": _TEXT,
            "versions": _array(_TEXT),
            "platform": _TEXT,
            "inputs": _array(tensor),
            "outputs": _array(tensor),
        }
    )


def _serving_status() -> Schema:
    status = _object({"error_code": _TEXT, "error_message": _TEXT})
    return _object(
        {
            "model_version_status": _array(
                _object({"version": _TEXT, "state": _TEXT, "status": status})
            )
        }
    )


def _results(item: Schema, description: str) -> Schema:
    return _object({"results": _array(item) | {"description": description}})


def _element(kind: Datatype) -> Schema:
    """One element in JSON; NaN and infinities, which JSON cannot say, are null."""
    if kind.kind in {"int", "uint"}:
        lowest, highest = kind.integer_range
        return {"type": "integer", "minimum": lowest, "maximum": highest}
    if kind.kind == "float":
        return {"type": "number", "nullable": True}
    return _BOOLEAN if kind.kind == "bool" else _TEXT


def _serving_element(spec: TensorSpec) -> Schema:
    if spec.datatype != "BYTES":
        return _element(datatype(spec.datatype))
    return _any_of([_TEXT, _object({"b64": {"type": "string", "format": "byte"}})])


def _nested(element: Schema, dims: Sequence[int]) -> Schema:
    """Nested arrays of ``dims``, where -1 is any length."""
    for size in reversed(dims):
        element = _array(element) if size == -1 else _array(element, exactly=size)
    return element


def _named_or_only(values: Mapping[str, Schema]) -> Schema:
    """An object with every input's name; a model with one input also takes the bare value."""
    named = _object(values)
    return named if len(values) > 1 else _any_of([*values.values(), named])


def _object(
    properties: Mapping[str, Schema],
    *,
    required: Iterable[str] | None = None,
    open_ended: bool = False,
) -> Schema:
    """An object; every property is required unless told otherwise."""
    names = list(properties if required is None else required)
    schema: Schema = {"type": "object", "properties": dict(properties)}
    if names:
        schema["required"] = names
    return schema | ({"additionalProperties": True} if open_ended else {})


def _array(items: Schema, *, exactly: int | None = None) -> Schema:
    bounds = {} if exactly is None else {"minItems": exactly, "maxItems": exactly}
    return {"type": "array", "items": items, **bounds}


def _whole(minimum: int) -> Schema:
    return {"type": "integer", "minimum": minimum}


def _any_of(schemas: Sequence[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


def _one_of(schemas: Sequence[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"oneOf": list(schemas)}
