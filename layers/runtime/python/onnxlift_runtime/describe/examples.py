"""Requests that a model answers as they stand, made from its manifest; the values mean nothing, the
shapes fit.
"""

import json
import math
import shlex
from collections.abc import Sequence
from typing import Any, Final

from onnxlift_runtime.manifest import Manifest, TensorSpec
from onnxlift_runtime.tensors.datatypes import datatype
from onnxlift_runtime.tensors.rows import takes_rows

MAX_ELEMENTS: Final = 512  # a longer example hides the document around it
VARIABLE_SIZE: Final = 8  # for a variable dimension that is not the batch
_VALUES: Final = {"bool": True, "int": 1, "uint": 1, "float": 0.5, "bytes": "text"}


def is_small(manifest: Manifest) -> bool:
    """Whether one row of every input together is short enough to print."""
    return sum(math.prod(example_shape(spec, manifest)) for spec in manifest.inputs) <= MAX_ELEMENTS


def example_shape(spec: TensorSpec, manifest: Manifest) -> list[int]:
    """A shape that fits: 1 for the batch and a variable first dimension, ``VARIABLE_SIZE`` for
    other variable ones.
    """
    ones = {0, manifest.batch_axis(spec.name)}
    variable = (1 if axis in ones else VARIABLE_SIZE for axis in range(len(spec.shape)))
    return [free if size == -1 else size for size, free in zip(spec.shape, variable, strict=True)]


def infer_example(manifest: Manifest) -> dict[str, Any]:
    """An Open Inference Protocol request with one row."""
    inputs = []
    for spec in manifest.inputs:
        shape = example_shape(spec, manifest)
        data = [_value(spec)] * math.prod(shape)
        inputs.append({"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": data})
    return {"inputs": inputs}


def predict_example(manifest: Manifest) -> dict[str, Any]:
    """A TensorFlow Serving predict request: rows where every input has a batch, else whole
    tensors.
    """
    tensors = {
        spec.name: _nested(_value(spec), example_shape(spec, manifest)) for spec in manifest.inputs
    }
    if not (manifest.max_batch_size and takes_rows(manifest)):
        return {"inputs": tensors if len(tensors) > 1 else next(iter(tensors.values()))}
    rows = [{name: tensor[0] for name, tensor in tensors.items()}]
    return {"instances": rows if len(tensors) > 1 else next(iter(tensors.values()))}


def features_example(manifest: Manifest) -> dict[str, Any]:
    """A TensorFlow Serving classify or regress request with one example."""
    return {
        "examples": [
            {
                spec.name: _nested(_value(spec), example_shape(spec, manifest)[1:])
                for spec in manifest.inputs
            }
        ],
    }


def infer_command(manifest: Manifest, path: str, *, api_key: bool) -> str:
    """A shell line that makes the request of ``infer_example``, however large, and sends it to
    ``$URL``.
    """
    tensors = ", ".join(_python(spec, manifest) for spec in manifest.inputs)
    program = f'import json; print(json.dumps({{"inputs": [{tensors}]}}))'
    key = '-H "x-api-key: $KEY" ' if api_key else ""
    return (
        f'python3 -c {shlex.quote(program)} |\n  curl -s {key}-H "content-type: '
        f'application/json" -d @- "$URL{path}"'
    )


def _python(spec: TensorSpec, manifest: Manifest) -> str:
    """The input as a Python expression that repeats its value instead of listing it."""
    shape = example_shape(spec, manifest)
    value = '"text"' if spec.datatype == "BYTES" else repr(_value(spec))
    data = f"[{value}] * {math.prod(shape)}"
    return (
        f'{{"name": {json.dumps(spec.name)}, "datatype": "{spec.datatype}", '
        f'"shape": {shape}, "data": {data}}}'
    )


def _value(spec: TensorSpec) -> Any:
    return _VALUES[datatype(spec.datatype).kind]


def _nested(value: Any, shape: Sequence[int]) -> Any:
    for size in reversed(shape):
        value = [value] * size
    return value
