"""A probe of whether a process multiplies 8-bit numbers as a CPU with or without VNNI does."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper

CHILD: Final = Path(__file__).with_name("child.py")
_TIMEOUT_S: Final = 120
_LENGTH: Final = 64
_LARGEST, _WEIGHT = 255, 127
_EXACT: Final = _LENGTH * _LARGEST * _WEIGHT
# Without VNNI two products are added in 16 bits (VPMADDUBSW), which saturates.
_SATURATED: Final = _LENGTH // 2 * np.iinfo(np.int16).max


def obstacle(variables: Mapping[str, str], *, saturates: bool) -> str | None:
    """Why onnxruntime in a process with the environment ``variables`` is not as it should be; None
    if it is.

    A process of this Python runs the probe, once for the same variables.
    """
    return _obstacle(tuple(sorted(variables.items())), _SATURATED if saturates else _EXACT)


@cache
def _obstacle(variables: tuple[tuple[str, str], ...], expected: int) -> str | None:
    with tempfile.TemporaryDirectory(prefix="onnxlift-") as scratch:
        model, feeds, outputs = (Path(scratch) / name for name in ("m.onnx", "x.npz", "y.npz"))
        onnx.save(_model(), model)
        x = np.full((1, _LENGTH), _LARGEST, np.uint8)
        np.savez(feeds, **{"0/x": x})  # type: ignore[arg-type]
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, str(CHILD), str(model), str(feeds), str(outputs), "1"],
            env={**os.environ, **dict(variables)},
            capture_output=True,
            check=False,
            text=True,
            timeout=_TIMEOUT_S,
        )
        if done.returncode != 0:
            return last_line(done)
        with np.load(outputs) as found:
            answer = int(found["0/y"].item())
    return None if answer == expected else f"the probe gave {answer} instead of {expected}"


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that a process wrote to its standard error; its exit status if it wrote
    nothing.
    """
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def _model() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "saturation",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, _LENGTH])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 1])],
        [helper.make_tensor("w", TensorProto.INT8, [_LENGTH, 1], [_WEIGHT] * _LENGTH)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
