"""Which device a worker takes, from what was found."""

import json
from pathlib import Path

import pytest

from gpu_fallback.models.devices import CUDA, TENSORRT, Hardware, choose_device, look
from onnxlift_runtime.dataplane.session import Device
from onnxlift_runtime.errors import DeviceMissing
from tests.support.errors import raises

NONE = Hardware("CUDA driver version is insufficient")


def choose(found: Hardware, *, allow_cpu: bool = False, memory_mb: int = 0) -> Device:
    return choose_device(
        found, allow_cpu=allow_cpu, memory_mb=memory_mb, cache=Path("/models/.tensorrt")
    )


def test_cuda_is_taken_where_it_works_and_keeps_to_its_memory() -> None:
    device = choose(Hardware(""), memory_mb=2_000)

    assert (device.name, device.memory, device.bound) == (CUDA, "cuda", True)
    assert [name for name, _ in device.providers] == [
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    options = dict(device.providers)["CUDAExecutionProvider"]
    assert options["gpu_mem_limit"] == str(2_000 * 1024 * 1024)
    assert options["arena_extend_strategy"] == "kSameAsRequested"


def test_without_a_budget_the_device_itself_is_the_bound() -> None:
    assert "gpu_mem_limit" not in dict(choose(Hardware("")).providers)["CUDAExecutionProvider"]


def test_tensorrt_comes_before_cuda_where_its_libraries_are() -> None:
    device = choose(Hardware("", tensorrt=True))

    assert device.name == TENSORRT
    names = [name for name, _ in device.providers]
    assert names == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert (
        dict(device.providers)["TensorrtExecutionProvider"]["trt_engine_cache_path"]
        == "/models/.tensorrt"
    )


def test_no_gpu_is_one_error_that_says_why_and_what_to_do() -> None:
    with raises(DeviceMissing, "driver version is insufficient", "ONNXLIFT_ALLOW_CPU=true"):
        choose(NONE)


def test_the_cpu_is_taken_loudly_where_it_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    device = choose(NONE, allow_cpu=True)

    line = json.loads(capsys.readouterr().out)
    assert device.name == "cpu"
    assert (line["level"], line["device"]) == ("WARNING", "cpu")
    assert line["why"] == "CUDA driver version is insufficient"


def test_a_gpu_is_taken_even_where_the_cpu_is_allowed() -> None:
    assert choose(Hardware(""), allow_cpu=True).name == CUDA


def test_a_machine_without_cuda_has_an_obstacle_and_no_tensorrt() -> None:
    found = look()

    if not found.obstacle:
        pytest.skip("this machine has a GPU")
    assert not found.tensorrt
