"""Sessions on a device: bound inputs and outputs change no answer, and no error's class."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
import pytest
from onnx import helper

from onnxlift_runtime.dataplane.session import (
    CPU,
    Device,
    Session,
    _translate,
    device_obstacle,
    has_provider,
)
from onnxlift_runtime.errors import (
    ArtifactCorrupt,
    DeviceMissing,
    InferenceFailed,
    InputMismatch,
    MemoryExhausted,
    ModelTooLarge,
    OnnxliftError,
)
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.tensors.datatypes import DATATYPES, Datatype
from tests.support import builders
from tests.support.errors import raises
from tests.support.runtime import serving
from tests.unit.runtime.dataplane.test_session import open_on, sample

BOUND: Final = Device("cpu", CPU.providers, bound=True)
NO_MEMORY: Final = (
    "Non-zero status code returned while running MatMul node. Status Message: bfc_arena.cc:376 "
    "void* "
    "onnxruntime::BFCArena::AllocateRawInternal(size_t) Failed to allocate memory for requested "
    "buffer of size 8388608",
    "BFCArena: Available memory of 128 is smaller than requested bytes of 4096",
    "CUDA failure 2: out of memory ; GPU=0 ; hostname=a ; expr=cudaMalloc((void**)&p, size);",
    "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
    "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED ; GPU=0",
    "CUDNN failure 4002: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ; GPU=0",
    "std::bad_alloc",
)
LOST: Final = (
    "CUDA failure 100: no CUDA-capable device is detected ; GPU=-1",
    "CUDA failure 700: an illegal memory access was encountered ; GPU=0",
    "CUDA error 719: unspecified launch failure",
)


@pytest.mark.parametrize("shape", [(2, 3), (0, 3), ()], ids=str)
@pytest.mark.parametrize("datatype", DATATYPES, ids=lambda datatype: datatype.name)
def test_every_datatype_and_shape_goes_through_a_bound_graph(
    datatype: Datatype, shape: tuple[int, ...], tmp_path: Path
) -> None:
    session = open_on(BOUND, tmp_path, builders.identity(datatype.name, [-1] * len(shape)))
    array = sample(datatype, shape)

    result = session.run({"x": array}, ["y"])["y"]

    assert (result.shape, result.dtype) == (array.shape, array.dtype)
    assert result.tolist() == array.tolist()


def test_a_bound_run_gives_the_bits_of_a_plain_one(tmp_path: Path) -> None:
    model, array = builders.mlp(), np.random.default_rng(0).normal(size=(7, 16)).astype(np.float32)
    plain, bound = (open_on(device, tmp_path / f"{device.bound}", model) for device in (CPU, BOUND))

    answers = [
        session.run({"x": array}, ["probabilities"])["probabilities"] for session in (plain, bound)
    ]

    np.testing.assert_array_equal(answers[0], answers[1])


def test_an_array_that_is_not_contiguous_is_bound_as_it_reads(tmp_path: Path) -> None:
    session = open_on(BOUND, tmp_path, builders.identity("FP32", (-1, -1)))
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T

    result = session.run({"x": array}, ["y"])["y"]

    np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize(
    ("model", "array"),
    [
        (serving.gather(), np.array([7])),
        (builders.failing(), np.zeros((1, 5), np.float32)),
        (builders.linear(), np.zeros((1, 5), np.float32)),
    ],
    ids=["index", "reshape", "shape"],
)
def test_an_input_that_the_graph_refuses_is_the_callers_error_when_bound(
    model: Any, array: Any, tmp_path: Path
) -> None:
    session = open_on(BOUND, tmp_path, model)

    with raises(InputMismatch, "'tiny'"):
        session.run({"x": array}, ["y"])


def test_memory_that_runs_out_is_told_as_such_when_bound(tmp_path: Path) -> None:
    node = helper.make_node("Expand", ["x", "size"], ["y"])
    inputs = [builders.value("x", "FP32", (-1,)), builders.value("size", "INT64", (1,))]
    session = open_on(
        BOUND, tmp_path, builders.build([node], inputs, [builders.value("y", "FP32", (-1,))])
    )

    with raises(MemoryExhausted, "'tiny'"):
        session.run({"x": np.zeros(1, np.float32), "size": np.array([2**50])}, ["y"])


@pytest.mark.parametrize("told", NO_MEMORY)
def test_what_allocators_say_is_a_lack_of_memory(told: str) -> None:
    assert type(_translate(RuntimeError(told), "tiny")) is MemoryExhausted


@pytest.mark.parametrize("told", LOST)
def test_a_broken_device_is_told_as_such(told: str) -> None:
    assert type(_translate(RuntimeError(told), "tiny")) is DeviceMissing


@pytest.mark.parametrize(
    "told", ["CUDA failure 20: something", "CUDA failure 7000: something", "no words"]
)
def test_any_other_failure_stays_the_models(told: str) -> None:
    assert type(_translate(RuntimeError(told), "tiny")) is InferenceFailed


@pytest.mark.parametrize(
    ("told", "expected"),
    [(NO_MEMORY[0], ModelTooLarge), (LOST[0], DeviceMissing), ("no words", ArtifactCorrupt)],
)
def test_a_model_that_cannot_be_opened_is_told_by_what_onnxruntime_says(
    told: str, expected: type[OnnxliftError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise RuntimeError(told)

    monkeypatch.setattr(ort, "InferenceSession", refuse)

    with raises(expected, "model.onnx"):
        open_on(CPU, tmp_path, builders.linear())


@pytest.mark.skipif(
    "CUDAExecutionProvider" in ort.get_available_providers(), reason="this onnxruntime has CUDA"
)
@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_a_session_that_silently_runs_elsewhere_is_refused(tmp_path: Path) -> None:
    device = Device(
        "cuda", (("CUDAExecutionProvider", {"device_id": "0"}), *CPU.providers), "cuda", bound=True
    )

    with raises(DeviceMissing, "CUDAExecutionProvider"):
        open_on(device, tmp_path, builders.linear())


def test_a_device_that_this_onnxruntime_does_not_know_has_an_obstacle() -> None:
    assert device_obstacle("nowhere")
    assert device_obstacle("cpu") == ""


def test_a_provider_without_a_library_of_its_own_is_not_there() -> None:
    assert not has_provider("NowhereExecutionProvider")
    assert not has_provider("CPUExecutionProvider")


def test_the_plain_session_is_unchanged_without_a_device(tmp_path: Path) -> None:
    manifest: Manifest = builders.write_artifact(tmp_path, builders.linear())

    session = Session(tmp_path / "tiny" / "1", manifest, threads=1, verify=True)

    assert session.run({"x": np.zeros((1, 4), np.float32)}, ["y"])["y"].shape == (1, 3)
