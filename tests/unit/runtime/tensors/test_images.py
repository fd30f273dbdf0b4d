"""Pictures as inputs: pixels where the model takes them, the file where it takes that, and a reason
otherwise.
"""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest

from onnxlift_runtime.errors import (
    DatatypeMismatch,
    MalformedRequest,
    OnnxliftError,
    PayloadTooLarge,
    ShapeMismatch,
)
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors.images import decode_picture
from tests.support.builders import manifest, spec

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
LIMITS = Limits(max_tensor_bytes=10_000)


def model(datatype: str, shape: tuple[int, ...]) -> Any:
    return manifest((spec("x", datatype, shape),), max_batch_size=0)


def picture(kind: str = "PNG", size: tuple[int, int] = (3, 2), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(
        np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(size[1], size[0], 3)
    ).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def test_pixels_come_in_the_layout_the_model_fixes() -> None:
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)

    last = decode_picture(picture(), model("UINT8", (-1, -1, -1, 3)), LIMITS)["x"]
    first = decode_picture(picture(), model("UINT8", (1, 3, 2, 3)), LIMITS)["x"]
    unbatched = decode_picture(picture(), model("UINT8", (3, -1, -1)), LIMITS)["x"]

    assert last.tolist() == pixels[None].tolist()
    assert unbatched.tolist() == pixels.transpose(2, 0, 1).tolist()
    assert first.shape == (1, 3, 2, 3)


def test_channels_are_converted_to_those_the_model_takes() -> None:
    gray = decode_picture(picture("JPEG"), model("UINT8", (-1, 1, -1, -1)), LIMITS)["x"]
    palette = decode_picture(picture(mode="P"), model("UINT8", (-1, -1, -1, 4)), LIMITS)["x"]

    assert (gray.shape, palette.shape) == ((1, 1, 2, 3), (1, 2, 3, 4))


def test_a_model_of_files_gets_the_file() -> None:
    body = picture("JPEG")

    assert decode_picture(body, model("BYTES", (-1, 1)), LIMITS)["x"].tolist() == [[body]]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bomb() -> bytes:
    """A PNG that announces 40,000 times 40,000 pixels."""
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("body", "datatype", "shape", "expected"),
    [
        (_bomb(), "UINT8", (-1, 3, -1, -1), OnnxliftError),
        (picture(size=(90, 90)), "UINT8", (-1, 3, -1, -1), PayloadTooLarge),
        (picture()[:50], "UINT8", (-1, 3, -1, -1), MalformedRequest),
        (b"GIF89a", "UINT8", (-1, 3, -1, -1), MalformedRequest),
        (picture(), "FP32", (-1, 3, -1, -1), DatatypeMismatch),
        (picture(), "UINT8", (-1, 64), ShapeMismatch),
        (picture(), "UINT8", (-1, 3, 8, 8), ShapeMismatch),
    ],
)
def test_other_pictures_are_refused_before_their_pixels_are_decoded(
    body: bytes, datatype: str, shape: tuple[int, ...], expected: type[OnnxliftError]
) -> None:
    with pytest.raises(expected):
        decode_picture(body, model(datatype, shape), LIMITS)
