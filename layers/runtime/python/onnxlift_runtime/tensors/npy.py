"""numpy's own files, .npy and .npz, in both directions, from callers who may mean harm.

A file is never unpickled. Its header is checked against the model before anything is allocated, an
archive's directory before it is read, and a member never inflates beyond the limit whatever size it
announces. Source: numpy's format specification (numpy.lib.format), PKWARE's APPNOTE 4.3.16 for the
archive's end.
"""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy_format

from onnxlift_runtime.errors import DatatypeMismatch, MalformedRequest, PayloadTooLarge
from onnxlift_runtime.manifest import Manifest, TensorSpec
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors.arrays import Array, bfloat16_to_float32, decode, float32_to_bfloat16
from onnxlift_runtime.tensors.datatypes import DATATYPES
from onnxlift_runtime.tensors.wire import (
    WireTensor,
    check_batch,
    check_input,
    check_names,
    specs_by_name,
)

MAX_HEADER_BYTES: Final = 4_096  # sixteen dimensions take a tenth of it
_LENGTHS: Final = {
    b"\1\0": struct.Struct("<H"),
    b"\2\0": struct.Struct("<I"),
    b"\3\0": struct.Struct("<I"),
}
# {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } in any order; possessive, so that it
# cannot go back.
_HEADER: Final = re.compile(
    rb"""\{(?:\s*+(?:
        ['"]descr['"]\s*+:\s*+['"](?P<descr>[<>|=]?[biufcSUVO][0-9]{0,7})['"]
        |['"]fortran_order['"]\s*+:\s*+(?P<order>True|False)
        |['"]shape['"]\s*+:\s*+\((?P<shape>(?:\s*+[0-9]{1,18}\s*+,?)*+)\s*+\)
    )\s*+,?){3}\s*+\}\s*+""",
    re.VERBOSE,
)
_MAX_DIRECTORY_BYTES: Final = 64 * 1024
_END: Final = struct.Struct("<4s4H2LH")
_DIRECTORY_SIZE: Final = 5  # the field of _END
_ZIP64_LOCATOR_BYTES: Final = 20
_METHODS: Final = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    struct.error,
)

_BY_NUMPY: Final = {
    np.dtype(found.numpy): found.name for found in DATATYPES if found.name not in {"BF16", "BYTES"}
}


def decode_npy(body: bytes, manifest: Manifest, limits: Limits) -> dict[str, Array]:
    """The one array of a .npy file as the model's one input.

    Raises ``MalformedRequest``, the ``InputMismatch`` family and ``PayloadTooLarge``.
    """
    if len(manifest.inputs) != 1:
        names = ", ".join(repr(spec.name) for spec in manifest.inputs)
        raise MalformedRequest(
            f"a .npy file holds one array, model {manifest.name!r} has the inputs {names}; send an "
            f".npz file"
        )
    return _check_arrays({manifest.inputs[0].name: body}, manifest, limits)


def decode_npz(body: bytes, manifest: Manifest, limits: Limits) -> dict[str, Array]:
    """The arrays of an .npz file, each named after an input; raises what ``decode_npy`` raises."""
    _check_directory(body)
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            members = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            check_names(
                [entry.filename.removesuffix(".npy") for entry in archive.infolist()], manifest
            )
            files = {name: _inflate(archive, entry, limits) for name, entry in members.items()}
    except _BROKEN as error:
        raise MalformedRequest(f"the file is not an .npz archive: {error}") from error
    return _check_arrays(files, manifest, limits)


def encode_npz(arrays: Mapping[str, Array], manifest: Manifest) -> bytes:
    """The outputs as an .npz file; BF16 becomes float32, text a fixed-width byte string array.

    Raises ``DatatypeMismatch`` for text that ends in a zero byte, which such an array cannot hold.
    """
    specs = {spec.name: spec for spec in manifest.outputs}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(name + ".npy"), "w", force_zip64=True) as member:
                npy_format.write_array(member, _portable(array, specs[name]), allow_pickle=False)
    return buffer.getvalue()


def _portable(array: Array, spec: TensorSpec) -> Array:
    if spec.datatype == "BF16":
        return bfloat16_to_float32(array)
    if spec.datatype != "BYTES":
        return array
    if any(item.endswith(b"\0") for item in array.ravel()):
        raise DatatypeMismatch(
            f"output {spec.name!r} has text that ends in a zero byte, which .npz cannot hold"
        )
    return array.astype(bytes)


def _check_directory(body: bytes) -> None:
    """Bound what ``zipfile`` parses when it opens an archive: one entry of Python objects for each
    46 bytes.
    """
    at = body.rfind(b"PK\5\6", -(_END.size + 0xFFFF))
    if at < 0 or len(body) - at < _END.size:
        raise MalformedRequest("the file is not an .npz archive, or ends before the archive does")
    zip64 = body[max(0, at - _ZIP64_LOCATOR_BYTES) : at].startswith(b"PK\6\7")
    if zip64 or _END.unpack_from(body, at)[_DIRECTORY_SIZE] > _MAX_DIRECTORY_BYTES:
        raise PayloadTooLarge(
            f"the archive's directory takes more than {_MAX_DIRECTORY_BYTES} bytes"
        )


def _inflate(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: Limits) -> bytes:
    """One member, never more of it than a tensor may take."""
    if entry.compress_type not in _METHODS:
        raise MalformedRequest(
            f"member {entry.filename!r} is compressed in a way that numpy does not use"
        )
    room = limits.max_tensor_bytes + MAX_HEADER_BYTES + 12
    if entry.file_size > room:
        raise _bomb(entry, room)
    with archive.open(entry) as member:
        content = member.read(room + 1)
    if len(content) > room:
        raise _bomb(entry, room)
    return content


def _bomb(entry: zipfile.ZipInfo, room: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"member {entry.filename!r} inflates to more than {room} bytes")


def _check_arrays(
    files: Mapping[str, bytes], manifest: Manifest, limits: Limits
) -> dict[str, Array]:
    specs = specs_by_name(manifest)
    arrays = {
        name: _decode_array(content, specs[name], manifest, limits)
        for name, content in files.items()
    }
    check_batch(
        [WireTensor(name, "", array.shape, None) for name, array in arrays.items()], manifest
    )
    return arrays


def _decode_array(body: bytes, spec: TensorSpec, manifest: Manifest, limits: Limits) -> Array:
    """Read one .npy file for one input."""
    shape, column_major, dtype, start = _read_header(body, spec.name)
    data = memoryview(body)[start:]
    tensor = WireTensor(spec.name, _datatype(dtype, spec), shape, b"")
    check_input(WireTensor(spec.name, tensor.datatype, shape, None), spec, manifest, limits)
    if tensor.count * dtype.itemsize != len(data):
        raise MalformedRequest(
            f"input {spec.name!r} has {len(data)} bytes of data, its header announces "
            f"{tensor.count * dtype.itemsize}"
        )
    _check_text(data, dtype, spec.name)
    stored = np.frombuffer(data, dtype=dtype if dtype.kind != "b" else np.uint8)
    array = stored.reshape(shape[::-1]).T if column_major else stored.reshape(shape)
    return _converted(array, spec, tensor)


def _read_header(body: bytes, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, order, dtype and where the data start; raises ``MalformedRequest``, for pickled
    objects too.

    A header is a Python literal; it is matched here and not evaluated.
    """
    length = _LENGTHS.get(body[6:8]) if body.startswith(b"\x93NUMPY") else None
    if length is None or len(body) < 8 + length.size:
        raise MalformedRequest(f"the array of input {name!r} is not a .npy file")
    (size,) = length.unpack_from(body, 8)
    start = 8 + length.size + size
    match = (
        _HEADER.fullmatch(body, 8 + length.size, start)
        if size <= MAX_HEADER_BYTES and start <= len(body)
        else None
    )
    if match is None or None in (match["descr"], match["order"], match["shape"]):
        raise MalformedRequest(
            f"the array of input {name!r} has a .npy header that is cut, or not one of a plain "
            f"array"
        )
    try:
        dtype = np.dtype(match["descr"].decode())
    except (TypeError, ValueError) as error:
        raise MalformedRequest(f"the array of input {name!r} has no numpy type: {error}") from error
    if dtype.hasobject:
        raise MalformedRequest(
            f"the array of input {name!r} holds pickled Python objects, which are never read"
        )
    return (
        tuple(map(int, re.findall(rb"[0-9]+", match["shape"]))),
        match["order"] == b"True",
        dtype,
        start,
    )


def _datatype(dtype: np.dtype[Any], spec: TensorSpec) -> str:
    """The protocol's word for a stored dtype; float32 also stands for BF16, which numpy does not
    know.
    """
    if dtype.kind in "SU" and dtype.itemsize:
        return "BYTES"
    native = dtype.newbyteorder("=")
    if native == np.float32 and spec.datatype == "BF16":
        return "BF16"
    if native not in _BY_NUMPY:
        raise DatatypeMismatch(
            f"input {spec.name!r} has the numpy type {dtype}, the model takes {spec.datatype}"
        )
    return _BY_NUMPY[native]


def _check_text(data: memoryview, dtype: np.dtype[Any], name: str) -> None:
    """Numpy keeps text as UTF-32, and takes any four bytes for a character until somebody asks for
    it.
    """
    try:
        str(
            data if dtype.kind == "U" else b"",
            "utf-32-be" if dtype.byteorder == ">" else "utf-32-le",
        )
    except UnicodeDecodeError as error:
        raise MalformedRequest(
            f"the array of input {name!r} holds what is no text: {error.reason}"
        ) from error


def _converted(array: Array, spec: TensorSpec, tensor: WireTensor) -> Array:
    """The array as the session takes it: little-endian, row-major, aligned."""
    if spec.datatype == "BYTES":
        items = np.empty(array.size, dtype=object)
        items[:] = [
            item if isinstance(item, bytes) else item.encode() for item in array.ravel().tolist()
        ]
        return items.reshape(array.shape)
    if spec.datatype == "BF16":
        return float32_to_bfloat16(array)
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return decode(
        WireTensor(
            tensor.name, tensor.datatype, tensor.shape, plain.reshape(-1).view(np.uint8).data
        )
    )
