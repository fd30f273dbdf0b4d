"""Arrays from what a person writes: a number, a nested list, text, or a file."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from onnxlift.arrays import opened
from onnxlift_runtime.errors import (
    DatatypeMismatch,
    InputMismatch,
    MalformedRequest,
    ShapeMismatch,
    ValueOutOfRange,
)
from onnxlift_runtime.http.encoding import decode_json
from onnxlift_runtime.manifest import TensorSpec
from onnxlift_runtime.tensors.arrays import Array, decode, float32_to_bfloat16
from onnxlift_runtime.tensors.datatypes import datatype
from onnxlift_runtime.tensors.wire import WireTensor, nested_shape

_ROWS: Final = re.compile(r"(?P<path>.*)\[(?P<start>\d*)(?P<range>:)?(?P<stop>\d*)\]")
_NUMBERS: Final = "biuf"


def read_input(text: str, spec: TensorSpec) -> Array:
    """The array that ``text`` means for the input ``spec``, with the datatype and the dimensions
    the model takes.

    ``text`` is a number, a nested list in JSON, plain text for BYTES, or ``@file`` of type .npy,
    .npz (the array with the input's name, or the only one), .json, or any file for one BYTES
    element. ``@file[3]`` and ``@file[0:8]`` take rows. A missing batch dimension is added. Raises
    the ``InputMismatch`` family and ``MalformedRequest``.
    """
    array = _read_file(text[1:], spec) if text.startswith("@") else _from_text(text, spec)
    return _fit_shape(array, spec)


def _from_text(text: str, spec: TensorSpec) -> Array:
    if spec.datatype == "BYTES" and not text.lstrip().startswith("["):
        return _from_document(text, spec)
    try:
        document = decode_json(text.encode(), allow_nan=True)
    except MalformedRequest as error:
        raise MalformedRequest(
            f"input {spec.name!r} is {text[:40]!r}, expected a number, a nested list such as "
            f"[[1,2]], or @FILE"
        ) from error
    return _from_document(document, spec)


def _from_document(document: Any, spec: TensorSpec) -> Array:
    """Nested lists, or one value, checked element by element against the datatype."""
    shape = nested_shape(document)
    items = document if isinstance(document, list) else [document]
    return decode(WireTensor(spec.name, spec.datatype, shape, items))


def _read_file(name: str, spec: TensorSpec) -> Array:
    match = _ROWS.fullmatch(name) if not Path(name).exists() else None
    path = Path(match["path"] if match else name)
    reader = _READERS.get(path.suffix.lower(), _read_bytes)
    try:
        array = reader(path, spec)
    except OSError as error:
        raise InputMismatch(
            f"input {spec.name!r}: cannot read {path}: {error.strerror or error}"
        ) from error
    except ValueError as error:
        raise InputMismatch(
            f"input {spec.name!r}: {path} is not a readable {path.suffix} file: {error}"
        ) from error
    return _take_rows(array, match, spec) if match else array


def _read_npy(path: Path, spec: TensorSpec) -> Array:
    with opened(path) as array:
        if not isinstance(array, np.ndarray):
            raise ValueError("it holds several arrays")
        return _cast(array, spec)


def _read_npz(path: Path, spec: TensorSpec) -> Array:
    with opened(path) as arrays:
        if isinstance(arrays, np.ndarray):
            raise ValueError("it holds a single array, as .npy files do")
        names = list(arrays)
        if len(names) == 1:
            return _cast(arrays[names[0]], spec)
        if spec.name not in names:
            raise ValueError(
                f"no array is called {spec.name!r}; it has: {', '.join(names) or 'none'}"
            )
        return _cast(arrays[spec.name], spec)


def _read_json(path: Path, spec: TensorSpec) -> Array:
    document = decode_json(path.read_bytes(), allow_nan=True)
    if isinstance(document, dict):
        if spec.name not in document:
            raise ValueError(
                f"no key is called {spec.name!r}; it has: {', '.join(document) or 'none'}"
            )
        document = document[spec.name]
    return _from_document(document, spec)


def _read_bytes(path: Path, spec: TensorSpec) -> Array:
    if spec.datatype != "BYTES":
        raise DatatypeMismatch(
            f"input {spec.name!r} has datatype {spec.datatype}, which is read from: "
            f"{', '.join(_READERS)}; got {path}"
        )
    array = np.empty((), dtype=object)
    array[()] = path.read_bytes()
    return array


_READERS: Final[dict[str, Callable[[Path, TensorSpec], Array]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".json": _read_json,
}


def _take_rows(array: Array, match: re.Match[str], spec: TensorSpec) -> Array:
    if not array.ndim:
        raise ShapeMismatch(
            f"input {spec.name!r}: {match['path']} holds one value, there are no rows to take"
        )
    start = int(match["start"] or 0)
    if match["range"]:
        return array[start : int(match["stop"]) if match["stop"] else None]
    if start >= len(array):
        raise ShapeMismatch(
            f"input {spec.name!r}: {match['path']} has rows 0 to {len(array) - 1}, not {start}"
        )
    return array[start : start + 1]


def _cast(array: Array, spec: TensorSpec) -> Array:
    """Convert a file's array to the input's datatype where no value is lost beyond rounding."""
    found = datatype(spec.datatype)
    if found.kind == "bytes":
        return _to_bytes(array, spec)
    if array.dtype.kind not in _NUMBERS or (found.kind == "bool") != (array.dtype.kind == "b"):
        raise DatatypeMismatch(
            f"input {spec.name!r} has an array of {array.dtype}, the model takes {spec.datatype}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        if found.name == "BF16":
            return float32_to_bfloat16(array.astype(np.float32))
        cast = array.astype(found.numpy)
    if found.kind == "float":  # may be rounded, but not become infinite
        kept = np.array_equal(np.isfinite(cast), np.isfinite(array))
    else:
        kept = np.array_equal(cast, array)
    if not kept:
        raise ValueOutOfRange(
            f"input {spec.name!r} has an array of {array.dtype} with values {spec.datatype} lacks"
        )
    return cast


def _to_bytes(array: Array, spec: TensorSpec) -> Array:
    if array.dtype.kind not in "SU":
        raise DatatypeMismatch(
            f"input {spec.name!r} has an array of {array.dtype}, the model takes text (BYTES)"
        )
    items = np.empty(array.size, dtype=object)
    items[:] = [
        item.encode() if isinstance(item, str) else bytes(item) for item in array.ravel().tolist()
    ]
    return items.reshape(array.shape)


def _fit_shape(array: Array, spec: TensorSpec) -> Array:
    """Add the batch dimension where it alone is missing, and all dimensions to a single value."""
    if array.ndim == 0 and all(size in (-1, 1) for size in spec.shape):
        array = array.reshape((1,) * len(spec.shape))
    if array.ndim == len(spec.shape) - 1 and spec.shape[0] in (-1, 1):
        array = array[np.newaxis]
    fits = array.ndim == len(spec.shape) and all(
        want in (-1, got) for got, want in zip(array.shape, spec.shape, strict=True)
    )
    if not fits:
        told, wanted = (",".join(map(str, shape)) for shape in (array.shape, spec.shape))
        raise ShapeMismatch(f"input {spec.name!r} has shape [{told}], the model takes [{wanted}]")
    return array
