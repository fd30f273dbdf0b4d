"""Running on another instruction set: the same answers from a fresh process, or a reason."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxlift.compress.cpu import instructions, mask, patch
from onnxlift.compress.cpu.instructions import Availability, InstructionSet, available
from onnxlift.compress.cpu.process import run_on
from onnxlift.compress.steps import Context
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from onnxlift_runtime.errors import InferenceFailed, ModelUnavailable
from tests.support import builders
from tests.support.compress.closeness import run
from tests.support.errors import raises

ROWS = np.random.default_rng(0).uniform(0.8, 1, (64, 64)).astype(np.float32)


@pytest.fixture(autouse=True)
def _cache(made_once: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not available(InstructionSet.NEOVERSE_N1):
        monkeypatch.setenv("XDG_CACHE_HOME", str(made_once))


def _saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("instructions", list(InstructionSet))
def test_a_model_answers_alike_wherever_it_can_run(
    instructions: InstructionSet, tmp_path: Path
) -> None:
    if not (road := available(instructions)):
        pytest.skip(road.reason)
    model = builders.mlp()
    feeds = [{"x": np.full((rows, 16), rows, np.float32)} for rows in (1, 3)]

    outputs = run_on(instructions, _saved(model, tmp_path), feeds)

    for feed, output in zip(feeds, outputs, strict=True):
        np.testing.assert_allclose(output["probabilities"], run(model, feed), atol=1e-5)


def test_weights_that_saturate_differ_on_avx2_and_bounded_ones_agree(tmp_path: Path) -> None:
    if not (road := available(InstructionSet.AVX2)):
        pytest.skip(road.reason)
    model = builders.linear(64, 8, bias=False)
    weight = np.sign(np.random.default_rng(0).normal(size=8)) * np.linspace(0.95, 1, 64)[:, None]
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(weight.astype(np.float32), "weight")
    )
    expected = run(model, {"x": ROWS})

    agreement = {}
    for saturation in ("ignore", "avoid"):
        int8 = MatMulInt8("nearest", saturation).apply(model, Context())
        (output,) = run_on(InstructionSet.AVX2, _saved(int8, tmp_path), [{"x": ROWS}])
        agreement[saturation] = np.abs(output["y"] - expected).max() / np.abs(expected).max()

    assert agreement["avoid"] < 0.01
    assert agreement["ignore"] > 0.05


def test_a_cpu_that_is_taken_for_a_newer_one_answers_through_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (reason := patch.obstacle()) or "avx2" not in mask.cpu_flags():
        pytest.skip(reason or "this CPU has no avx2")
    monkeypatch.setattr(instructions, "native", lambda: InstructionSet.VNNI)
    assert available(InstructionSet.AVX2).road == "patched"

    (output,) = run_on(InstructionSet.AVX2, _saved(builders.mlp(), tmp_path), [{"x": ROWS[:, :16]}])

    expected = run(builders.mlp(), {"x": ROWS[:, :16]})
    np.testing.assert_allclose(output["probabilities"], expected, atol=1e-5)


def test_no_road_is_an_error_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "onnxlift.compress.cpu.process.available",
        lambda wanted: Availability(wanted, None, "not available because ..."),
    )

    with raises(ModelUnavailable, "arm64-neoverse-n1", "not available because"):
        run_on(InstructionSet.NEOVERSE_N1, tmp_path / "model.onnx", [])


def test_a_process_that_fails_gives_its_last_line(tmp_path: Path) -> None:
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"not a model")
    fast = ("native", "patched", "masked")
    wanted = next(item for item in InstructionSet if available(item).road in fast)

    with raises(InferenceFailed, "INVALID_PROTOBUF"):
        run_on(wanted, broken, [])
