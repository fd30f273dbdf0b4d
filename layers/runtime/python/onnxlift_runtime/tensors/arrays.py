"""Wire tensors and numpy arrays, in both directions.

Arrays are little-endian, C-contiguous and aligned. BF16 has no numpy type: its arrays are uint16
bit patterns. BYTES arrays are object arrays of ``bytes``.
"""

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from onnxlift_runtime.errors import (
    DatatypeMismatch,
    MalformedRequest,
    ShapeMismatch,
    ValueOutOfRange,
)
from onnxlift_runtime.http import encoding
from onnxlift_runtime.tensors.datatypes import Datatype, datatype
from onnxlift_runtime.tensors.wire import WireTensor, flatten

Array = np.ndarray[Any, np.dtype[Any]]

_KINDS: Final[dict[str, set[type]]] = {
    "bool": {bool},
    "int": {int},
    "uint": {int},
    "float": {int, float, type(None)},
    "bytes": {str, bytes},
}
_LENGTH: Final = struct.Struct("<I")


def decode(tensor: WireTensor) -> Array:
    """The array of a wire tensor whose datatype, shape and size were checked.

    Numbers out of the datatype's range are refused, never wrapped; JSON ``null`` is NaN for
    floating point. Raises ``ShapeMismatch``, ``DatatypeMismatch`` or ``ValueOutOfRange``.
    """
    return _decode_binary(tensor) if tensor.binary else _decode_json(tensor)


def encode_binary(array: Array, name: str) -> bytes:
    """Raw row-major little-endian bytes of ``array`` as datatype ``name``; BYTES elements carry a
    uint32 length.
    """
    if name == "BYTES":
        return b"".join(
            piece for item in array.ravel() for piece in (_LENGTH.pack(len(item)), item)
        )
    return np.ascontiguousarray(array, dtype=_dtype(datatype(name))).tobytes()


def encode_json(array: Array, name: str) -> Array | list[Any]:
    """``array`` in the form the JSON writer takes: an array of a type it knows, or nested lists of
    text for BYTES.

    An array without dimensions becomes a numpy scalar, or text.
    Raises ``DatatypeMismatch`` for bytes that are no UTF-8, which JSON cannot carry.
    """
    if name == "BYTES":
        return _text(array)
    if name == "BF16":
        return bfloat16_to_float32(array)
    plain = np.require(array, dtype=_dtype(datatype(name)), requirements="C")
    return (
        plain if plain.ndim else plain[()]
    )  # the JSON writer takes a numpy scalar, and no array without dimensions


def encode(array: Array, name: str, datatype_name: str, *, binary: bool) -> WireTensor:
    """The wire tensor called ``name`` of ``array``."""
    data = encode_binary(array, datatype_name) if binary else encode_json(array, datatype_name)
    return WireTensor(name, datatype_name, array.shape, data)


def shortest_floats(array: Array) -> Array:
    """Float64 values that print with as few digits as the narrower floats of ``array`` need."""
    if array.dtype == np.float64:
        return array
    printed = encoding.decode_json(encoding.encode_json(np.ravel(array)))
    return np.where(
        np.isfinite(array), np.array(printed, dtype=np.float64).reshape(array.shape), array
    )


def bfloat16_to_float32(bits: Array) -> Array:
    """Widen BF16 bit patterns (uint16) to float32, exactly."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def float32_to_bfloat16(values: Array) -> Array:
    """Round float32 to BF16 bit patterns (uint16), to nearest even as IEEE 754 does; NaN stays
    NaN.
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).reshape(-1).view(np.uint32)
    rounded = (
        (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    ).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded.reshape(np.shape(values)))


def _dtype(found: Datatype) -> np.dtype[Any]:
    return np.dtype(found.numpy).newbyteorder("<")


def _decode_binary(tensor: WireTensor) -> Array:
    found = datatype(tensor.datatype)
    if found.kind == "bytes":
        return _object_array(_split_bytes(tensor), tensor.shape)
    array = np.frombuffer(tensor.data, dtype=_dtype(found) if found.kind != "bool" else np.uint8)
    if found.kind == "bool":
        if array.size and int(array.max()) > 1:
            raise ValueOutOfRange(
                f"input {tensor.name!r} has a BOOL byte of {int(array.max())}, allowed: 0, 1"
            )
        array = array.view(np.bool_)
    # Tensors follow JSON of any length, so they may start at an odd address; onnxruntime wants them
    # aligned.
    return np.require(array.reshape(tensor.shape), requirements=["A", "C"])


def _split_bytes(tensor: WireTensor) -> list[bytes]:
    """Take a BYTES blob apart; lengths are checked against what is left before anything is
    copied.
    """
    data, offset = memoryview(tensor.data), 0
    items: list[bytes] = []
    for _ in range(tensor.count):
        if offset + 4 > len(data):
            raise MalformedRequest(
                f"input {tensor.name!r} ends after {len(items)} of {tensor.count} BYTES elements"
            )
        (size,) = _LENGTH.unpack_from(data, offset)
        offset += 4
        if size > len(data) - offset:
            left = len(data) - offset
            raise MalformedRequest(
                f"element {len(items)} of input {tensor.name!r} announces {size} bytes, {left} are "
                f"left"
            )
        items.append(bytes(data[offset : offset + size]))
        offset += size
    if offset != len(data):
        raise ShapeMismatch(
            f"input {tensor.name!r} has {len(data) - offset} bytes after its {tensor.count} "
            f"elements"
        )
    return items


def _decode_json(tensor: WireTensor) -> Array:
    found = datatype(tensor.datatype)
    items = flatten(tensor)
    kinds = set(map(type, items))
    if wrong := kinds - _KINDS[found.kind]:
        raise _wrong_kind(tensor, wrong)
    if found.kind == "bytes":
        return _object_array(
            [item.encode() if isinstance(item, str) else item for item in items], tensor.shape
        )
    if found.kind in {"int", "uint"}:
        _check_range(items, found, tensor.name)
    array = (
        _floats(items, found, tensor.name)
        if found.kind == "float"
        else np.array(items, dtype=_dtype(found))
    )
    return array.reshape(tensor.shape)


def _wrong_kind(tensor: WireTensor, wrong: set[type]) -> Exception:
    if list in wrong:
        return ShapeMismatch(
            f"input {tensor.name!r} has data nested deeper than its shape {list(tensor.shape)}"
        )
    names = ", ".join(sorted("null" if kind is type(None) else kind.__name__ for kind in wrong))
    return DatatypeMismatch(
        f"input {tensor.name!r} has elements of JSON type {names}, which {tensor.datatype} cannot "
        f"hold"
    )


def _check_range(items: list[int], found: Datatype, name: str) -> None:
    low, high = found.integer_range
    if items and (min(items) < low or max(items) > high):
        worst = min(items) if min(items) < low else max(items)
        raise ValueOutOfRange(
            f"input {name!r} has the value {worst}, {found.name} holds {low} to {high}"
        )


def _floats(items: list[float | None], found: Datatype, name: str) -> Array:
    try:
        values = np.array(items, dtype=np.float64)  # None becomes NaN
    except OverflowError as error:
        raise ValueOutOfRange(
            f"input {name!r} has a whole number which {found.name} cannot hold"
        ) from error
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32 if found.name == "BF16" else _dtype(found))
    if found.name == "BF16":
        bits = float32_to_bfloat16(narrow)
        narrow, result = bfloat16_to_float32(bits), bits
    else:
        result = narrow
    if np.isinf(narrow).any() and not np.array_equal(np.isinf(narrow), np.isinf(values)):
        worst = values[np.isinf(narrow) & np.isfinite(values)][0]
        raise ValueOutOfRange(
            f"input {name!r} has the value {worst:g}, which {found.name} cannot hold"
        )
    return result


def _object_array(items: Sequence[bytes | str], shape: tuple[int, ...]) -> Array:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)


def _text(array: Array) -> list[Any]:
    try:
        texts = [item.decode() for item in array.ravel()]
    except UnicodeDecodeError as error:
        raise DatatypeMismatch(
            f"a BYTES element is not UTF-8 ({error.reason}); ask for this tensor as binary data"
        ) from error
    nested: list[Any] = _object_array(texts, array.shape).tolist()
    return nested
