"""Models on a real CUDA device; skipped where there is none. Needs onnxruntime-gpu in place of
onnxruntime.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from onnx import helper

from gpu_fallback.models.devices import Hardware, choose_device, look
from onnxlift_runtime.dataplane.session import CPU, Device, Session
from onnxlift_runtime.errors import MemoryExhausted
from onnxlift_runtime.tensors.datatypes import datatype as find
from tests.support import builders

TOLERANCE: Final = 1e-4  # cuBLAS and cuDNN sum in another order than the CPU


@pytest.fixture(scope="module")
def found() -> Hardware:
    hardware = look()
    if hardware.obstacle:
        pytest.skip(f"no CUDA device: {hardware.obstacle}")
    return hardware


def open_on(device: Device, root: Path, model: Any) -> Session:
    manifest = builders.write_artifact(root / device.name, model)
    return Session(
        root / device.name / "tiny" / "1", manifest, threads=1, verify=True, device=device
    )


@pytest.mark.parametrize(
    ("model", "name", "row"),
    [(builders.mlp(), "x", (16,)), (builders.convolution(), "pixels", (1, 8, 8))],
    ids=["mlp", "convolution"],
)
def test_a_model_answers_as_on_the_cpu(
    found: Hardware, model: Any, name: str, row: tuple[int, ...], tmp_path: Path
) -> None:
    device = choose_device(found, allow_cpu=False, memory_mb=0, cache=tmp_path)
    array = np.random.default_rng(0).normal(size=(8, *row)).astype(np.float32)
    output = model.graph.output[0].name

    answers = [
        open_on(chosen, tmp_path, model).run({name: array}, [output])[output]
        for chosen in (device, CPU)
    ]

    np.testing.assert_allclose(answers[0], answers[1], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "INT64", "BOOL", "UINT8", "BF16"])
def test_values_of_a_datatype_go_through_the_devices_memory(
    found: Hardware, datatype: str, tmp_path: Path
) -> None:
    device = choose_device(found, allow_cpu=False, memory_mb=0, cache=tmp_path)
    session = open_on(device, tmp_path, builders.identity(datatype, (-1, -1)))
    kind = find(datatype).numpy
    array = np.arange(6).reshape(2, 3).astype(kind)

    result = session.run({"x": array}, ["y"])["y"]

    np.testing.assert_array_equal(result, array)


def test_memory_beyond_the_bound_is_told_as_such(found: Hardware, tmp_path: Path) -> None:
    node = helper.make_node("Expand", ["x", "size"], ["y"])
    inputs = [builders.value("x", "FP32", (-1,)), builders.value("size", "INT64", (1,))]
    model = builders.build([node], inputs, [builders.value("y", "FP32", (-1,))])
    device = choose_device(found, allow_cpu=False, memory_mb=64, cache=tmp_path)
    session = open_on(device, tmp_path, model)

    with pytest.raises(MemoryExhausted):
        session.run({"x": np.zeros(1, np.float32), "size": np.array([2**28])}, ["y"])
