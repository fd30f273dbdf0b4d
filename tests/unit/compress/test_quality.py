"""The gate's metrics, and the judge that runs candidates as they will be served."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import helper

from onnxlift.compress.quality import BATCHES, METRICS, Judge, accuracy, classes, cosine, passes, top1_agreement
from onnxlift.compress.samples import Samples
from onnxlift.compress.signature import Signature
from onnxlift.config import Quality as Limit
from onnxlift_runtime.errors import ModelRefused, QualityGateFailed, SamplesInvalid
from onnxlift_runtime.manifest import Quality
from onnxlift_runtime.session import Session
from tests import builders
from tests.builders import value

ROWS = np.random.default_rng(3).normal(size=(70, 16)).astype(np.float32)
scores = arrays(np.float32, (5, 4), elements=st.floats(-100, 100, width=32))


def _session(folder: Path, model: onnx.ModelProto, name: str) -> Session:
    manifest = builders.write_artifact(folder, model, name=name)
    return Session(folder / name / "1", manifest, threads=1, verify=False)


def _signature(session: Session, batch: int = 0) -> Signature:
    return Signature(session.manifest.inputs, session.manifest.outputs, batch)


def _judge(session: Session, rows: np.ndarray = ROWS, batch: int = 0, metric: Any = "cosine") -> Judge:
    limit = Limit(samples=Path("heldout.npz"), metric=metric, max_drop=0.01)
    return Judge.of(limit, Samples({"x": rows}, np.zeros(len(rows), np.int64)), _signature(session, batch), session)


@given(scores)
def test_every_metric_gives_the_model_itself_the_full_figure(answers: np.ndarray) -> None:
    labels = classes(answers)

    for metric in METRICS.values():
        assert metric(answers, answers, labels) == pytest.approx(1.0)


@given(scores, scores)
def test_no_metric_leaves_its_range(reference: np.ndarray, answers: np.ndarray) -> None:
    labels = classes(reference)

    assert 0 <= accuracy(reference, answers, labels) <= 1
    assert 0 <= top1_agreement(reference, answers, None) <= 1
    assert -1 <= cosine(reference, answers, None) <= 1


def test_accuracy_counts_right_classes() -> None:
    answers = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)

    assert accuracy(answers, answers, np.array([0, 1, 1])) == pytest.approx(2 / 3)


def test_accuracy_takes_an_output_of_class_numbers_or_names() -> None:
    assert accuracy(np.empty(0), np.array([3, 4]), np.array([3, 5])) == 0.5
    assert accuracy(np.empty(0), np.array([b"a", "ä".encode()], object), np.array(["a", "ä"])) == 1.0


def test_accuracy_refuses_labels_of_another_shape() -> None:
    with pytest.raises(SamplesInvalid, match=r"labels have shape \[2, 1\], the model's classes \[2\]"):
        accuracy(np.empty(0), np.ones((2, 3), np.float32), np.zeros((2, 1)))


def test_accuracy_refuses_to_go_without_labels() -> None:
    with pytest.raises(SamplesInvalid, match=r"quality\.labels"):
        accuracy(np.empty(0), np.ones((2, 3), np.float32), None)


@pytest.mark.parametrize("metric", ["top1_agreement", "accuracy"])
def test_one_number_for_each_sample_has_no_classes(metric: str) -> None:
    answers = np.ones((4, 1), np.float32)

    with pytest.raises(SamplesInvalid, match="no classes"):
        METRICS[metric](answers, answers, np.zeros(4))


def test_cosine_refuses_one_number_for_each_sample() -> None:
    with pytest.raises(SamplesInvalid, match="at least two values"):
        cosine(np.ones((4, 1)), np.ones((4, 1)), None)


def test_cosine_counts_an_answer_of_zeros_as_right_only_where_zeros_are_meant() -> None:
    reference = np.array([[0.0, 0.0], [1.0, 0.0]])

    assert cosine(reference, np.zeros((2, 2)), None) == 0.5


def test_the_judge_gives_the_model_itself_no_drop(tmp_path: Path) -> None:
    session = _session(tmp_path, builders.mlp(), "fp32")

    quality = _judge(session).measure(session)

    assert quality.samples == 70
    assert quality.drop == pytest.approx(0, abs=1e-6)
    assert passes(quality)


def test_the_judge_finds_another_model(tmp_path: Path) -> None:
    judge = _judge(_session(tmp_path, builders.mlp(), "fp32"))

    quality = judge.measure(_session(tmp_path, builders.mlp(seed=9), "other"))

    assert not passes(quality)


def _depends_on_its_batch() -> onnx.ModelProto:
    """``linear`` whose answer is turned round where more than one row comes together."""
    linear = builders.linear(16, 3, bias=False)
    nodes = [
        linear.graph.node[0],
        helper.make_node("Shape", ["x"], ["rows"], start=0, end=1),
        helper.make_node("Cast", ["rows"], ["count"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", ["two", "count"], ["sign"]),
        helper.make_node("Mul", ["y", "sign"], ["z"]),
    ]
    constants = {
        "weight": onnx.numpy_helper.to_array(linear.graph.initializer[0]),
        "two": np.array([2], np.float32),
    }
    return builders.build(nodes, [value("x", "FP32", (-1, 16))], [value("z", "FP32", (-1, 3))], constants)


def test_the_worse_of_the_batch_sizes_counts(tmp_path: Path) -> None:
    # At one row the candidate answers as itself, at 32 with the opposite sign.
    session = _session(tmp_path, _depends_on_its_batch(), "fp32")

    quality = _judge(session).measure(session)

    assert BATCHES == (1, 32)
    assert quality.measured == pytest.approx(-1)


def test_a_fixed_batch_is_judged_in_whole_batches(tmp_path: Path) -> None:
    session = _session(tmp_path, builders.identity("FP32", (4, 2)), "fp32")

    judge = _judge(session, ROWS[:10, :2], batch=4)

    assert len(judge.samples) == 8
    assert judge.measure(session).samples == 8


def test_fewer_samples_than_a_fixed_batch_are_refused(tmp_path: Path) -> None:
    session = _session(tmp_path, builders.identity("FP32", (4, 2)), "fp32")

    with pytest.raises(SamplesInvalid, match="takes 4 samples at a time, there are 3"):
        _judge(session, ROWS[:3, :2], batch=4)


def test_samples_the_model_cannot_run_on_are_refused(tmp_path: Path) -> None:
    session = _session(tmp_path, builders.failing(), "fp32")

    with pytest.raises(SamplesInvalid, match=r"heldout\.npz: the model cannot run on these samples"):
        _judge(session, ROWS[:, :4])


def _nan() -> onnx.ModelProto:
    node = helper.make_node("Log", ["x"], ["y"])
    return builders.build([node], [value("x", "FP32", (-1, 16))], [value("y", "FP32", (-1, 16))])


def test_an_fp32_model_that_answers_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="output 'y' is NaN"):
        _judge(_session(tmp_path, _nan(), "fp32"))


def test_a_candidate_that_answers_nan_fails_the_gate(tmp_path: Path) -> None:
    judge = _judge(_session(tmp_path, builders.identity("FP32", (-1, 16)), "fp32"))

    with pytest.raises(QualityGateFailed, match="NaN"):
        judge.measure(_session(tmp_path, _nan(), "candidate"))


def test_an_output_without_a_row_for_each_sample_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)
    constants = {"axes": np.array([0], np.int64)}
    model = builders.build([node], [value("x", "FP32", (-1, 16))], [value("y", "FP32", (-1, 16))], constants)

    with pytest.raises(SamplesInvalid, match="has 3 rows for 70 samples"):
        _judge(_session(tmp_path, model, "fp32"))


def test_bfloat16_answers_are_compared_as_numbers(tmp_path: Path) -> None:
    session = _session(tmp_path, builders.identity("BF16", (-1, 2)), "fp32")
    bits = np.array([[0x3F80, 0x4000], [0xBF80, 0x4000]], np.uint16)  # 1, 2; -1, 2

    judge = _judge(session, bits)

    np.testing.assert_array_equal(judge.answers, [[1, 2], [-1, 2]])


@pytest.mark.parametrize(("measured", "verdict"), [(0.99, True), (0.9899, False), (float("nan"), False), (1.2, True)])
def test_the_gate_passes_up_to_the_limit_and_never_no_number(measured: float, verdict: bool) -> None:
    assert passes(Quality("cosine", 1.0, measured, 0.01, 10)) is verdict
