"""Arrays as onnxruntime takes them and returns them: text, BF16 and OrtValues."""

import ctypes
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from onnxlift_runtime.errors import DatatypeMismatch
from onnxlift_runtime.manifest import TensorSpec
from onnxlift_runtime.tensors.arrays import Array

# TensorProto.BFLOAT16, named by number so that the onnx package is not needed.
_BFLOAT16: Final = 16


def to_native(array: Array, spec: TensorSpec) -> Array:
    """BYTES become text, which is what onnxruntime's strings are; it would otherwise print the
    Python bytes.
    """
    if spec.datatype != "BYTES":
        return array
    native = np.empty(array.shape, dtype=object)
    try:
        for place, item in np.ndenumerate(array):
            native[place] = item.decode()
    except UnicodeDecodeError as error:
        raise DatatypeMismatch(
            f"input {spec.name!r} has bytes that are not UTF-8, which ONNX strings are"
        ) from error
    return native


def from_native(result: Array, spec: TensorSpec) -> Array:
    """A result with text as bytes."""
    if spec.datatype != "BYTES":
        return np.asarray(result)
    array = np.empty(result.shape, dtype=object)
    for place, item in np.ndenumerate(result):
        array[place] = str(item).encode()
    return array


def to_feed(array: Array, spec: TensorSpec) -> Any:
    """An array as it is; BF16, which numpy does not know, as an OrtValue."""
    if spec.datatype != "BF16":
        return array
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
        np.require(array, requirements="C"), _BFLOAT16
    )


def to_value(array: Array, spec: TensorSpec) -> Any:
    """An array as an OrtValue; on the CPU the value is the array's own memory."""
    feed = to_feed(array, spec)
    return ort.OrtValue.ortvalue_from_numpy(feed) if feed is array else feed


def from_value(value: Any) -> Array:
    """Copy an OrtValue out; BF16 has no numpy type, so its bits are read from memory."""
    if value.data_type() != "tensor(bfloat16)":
        array: Array = value.numpy()
        return array
    shape = tuple(value.shape())
    size_bytes = 2 * int(np.prod(shape, dtype=np.int64))
    bits = ctypes.string_at(value.data_ptr(), size_bytes) if size_bytes else b""
    return np.frombuffer(bits, dtype=np.uint16).reshape(shape)
