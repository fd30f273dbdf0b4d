"""Models to files and back, above protobuf's 2 GB too."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import onnx

# Protobuf holds less than 2 GiB in one message; what the graph adds to its weights fits into the
# difference.
_LARGEST_BYTES: Final = 2**31 - 2**26
_INLINE_BYTES: Final = 1024  # onnx's default: smaller tensors stay in the graph


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model, the same bytes for the same model; weights above 2 GB go to ``<name>.data``
    beside it.
    """
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) < _LARGEST_BYTES:
        path.write_bytes(model.SerializeToString(deterministic=True))
        return
    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # moving the weights out would take them from the caller's model
    onnx.save_model(
        copy,
        path,
        save_as_external_data=True,
        location=f"{path.name}.data",
        size_threshold=_INLINE_BYTES,
    )


def weights_beside(path: Path) -> bool:
    """Whether ``save_model`` put this model's weights beside it."""
    return path.with_name(f"{path.name}.data").exists()


def through_files(model: onnx.ModelProto, change: Callable[[Path, Path], None]) -> onnx.ModelProto:
    """Let ``change`` read a model file and write another; return what it wrote, ``model`` itself
    stays as it is.
    """
    with tempfile.TemporaryDirectory(prefix="onnxlift-") as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        save_model(model, before)
        change(before, after)
        return onnx.load(after)
