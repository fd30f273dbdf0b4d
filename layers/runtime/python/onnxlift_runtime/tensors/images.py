"""JPEG and PNG as the one input of a model: their bytes where it takes BYTES, their pixels where it
takes UINT8.

What a model wants pixels scaled to is not in its file, so models that take floating point are
refused here: whoever knows the scale sends an array. Pillow is loaded only when a picture's pixels
are asked for.
"""

import io
import warnings
from typing import Any, Final

import numpy as np

from onnxlift_runtime.errors import (
    DatatypeMismatch,
    MalformedRequest,
    PayloadTooLarge,
    ShapeMismatch,
)
from onnxlift_runtime.manifest import Manifest, TensorSpec
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors.arrays import Array
from onnxlift_runtime.tensors.wire import WireTensor, check_input

_MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}
_SIGNATURES: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


def decode_picture(body: bytes, manifest: Manifest, limits: Limits) -> dict[str, Array]:
    """One picture as a batch of one; raises ``MalformedRequest``, ``PayloadTooLarge`` and the
    ``InputMismatch`` family.

    The layout, channels first or last, is the one whose channel dimension the model fixes at 1, 3
    or 4; first, as ONNX has them, where both could be it.
    """
    if not body.startswith(_SIGNATURES):
        raise MalformedRequest("the file is neither a JPEG nor a PNG picture")
    if len(manifest.inputs) != 1:
        raise MalformedRequest(
            f"a picture is one input, model {manifest.name!r} has {len(manifest.inputs)}"
        )
    spec = manifest.inputs[0]
    if spec.datatype == "BYTES":
        array = np.empty(1, dtype=object)
        array[0] = body
        array = array.reshape((1,) * len(spec.shape))
    elif spec.datatype == "UINT8":
        array = _pixels(body, spec, limits)
    else:
        raise DatatypeMismatch(
            f"input {spec.name!r} takes {spec.datatype}, a picture fits UINT8 (pixels) or BYTES "
            f"(the file itself); "
            "send the scaled pixels as .npy"
        )
    check_input(WireTensor(spec.name, spec.datatype, array.shape, None), spec, manifest, limits)
    return {spec.name: array}


def _pixels(body: bytes, spec: TensorSpec, limits: Limits) -> Array:
    channels, first = _layout(spec)
    with _open(body) as picture:
        size_bytes = picture.width * picture.height * channels
        if size_bytes > limits.max_tensor_bytes:  # before any pixel is decoded
            raise PayloadTooLarge(
                f"the picture takes {size_bytes} bytes, at most {limits.max_tensor_bytes} are read"
            )
        try:
            array = np.asarray(picture.convert(_MODES[channels]), dtype=np.uint8)
        except (OSError, ValueError, SyntaxError) as error:
            raise MalformedRequest(f"the picture cannot be decoded: {error}") from error
    array = array.reshape(array.shape[0], array.shape[1], channels)
    array = array.transpose(2, 0, 1) if first else array
    return np.ascontiguousarray(array[None] if len(spec.shape) == 4 else array)


def _layout(spec: TensorSpec) -> tuple[int, bool]:
    """How many channels the model takes, and whether they come before height and width."""
    shape = spec.shape[-3:]
    if len(spec.shape) in {3, 4} and shape[0] in _MODES:
        return shape[0], True
    if len(spec.shape) in {3, 4} and shape[-1] in _MODES:
        return shape[-1], False
    raise ShapeMismatch(
        f"input {spec.name!r} takes {list(spec.shape)}, a picture needs 3 or 4 dimensions with 1, "
        f"3 or 4 channels"
    )


def _open(body: bytes) -> Any:
    """The picture with its header read and its pixels not."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MalformedRequest(
            "pictures are not read here: Pillow is not installed; send them as .npy"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", Image.DecompressionBombWarning
            )  # the limits above are stricter
            return Image.open(io.BytesIO(body), formats=("JPEG", "PNG"))
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        SyntaxError,
        ValueError,
    ) as error:
        raise MalformedRequest(f"the picture cannot be decoded: {error}") from error
