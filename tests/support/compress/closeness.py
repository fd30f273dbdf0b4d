"""Run a model and say how close two answers are."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime as ort


def run(model: onnx.ModelProto, feed: Mapping[str, np.ndarray]) -> np.ndarray:
    """The first output of a model that passes onnx's checker for the operators it knows."""
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    output: np.ndarray = ort.InferenceSession(model.SerializeToString(), options).run(
        None, dict(feed)
    )[0]
    return output


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """The cosine of the angle between two answers, taken as one vector each."""
    return float(np.sum(first * second) / (np.linalg.norm(first) * np.linalg.norm(second)))


def constants(model: onnx.ModelProto) -> dict[str, bytes]:
    """Every constant of a model by name, as bytes."""
    return {tensor.name: tensor.SerializeToString() for tensor in model.graph.initializer}
