"""Model files for the tests that read them, with weights beside them, and the one line with which
they are refused.
"""

from pathlib import Path

import onnx
import pytest

from onnxlift.compress.model.reading import read_source
from onnxlift_runtime.errors import ModelRefused
from tests.support import builders


def write(folder: Path, model: onnx.ModelProto) -> Path:
    """Write ``model`` into ``folder`` as it is."""
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def external(folder: Path, location: str | None = None, **entries: str) -> Path:
    """``mlp`` with its weights in ``weights.bin``; then the first weight is told to lie at
    ``location``.
    """
    path = folder / "model.onnx"
    onnx.save(
        builders.mlp(), path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location" and location is not None:
            entry.value = location
        entry.value = entries.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())
    return path


def refusal(path: Path) -> str:
    """The message with which the file at ``path`` is refused: one line that names it."""
    with pytest.raises(ModelRefused) as caught:
        read_source(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message
