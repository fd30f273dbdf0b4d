"""What each node of a model loses when it alone is compressed: measured once, kept with the search."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort
from pydantic import TypeAdapter

from onnxlift.compress.activations import feeds
from onnxlift.compress.graph import Graph, attributes
from onnxlift.compress.prediction import INT8
from onnxlift.compress.report import NodeSensitivity, PrecisionError
from onnxlift.compress.samples import Samples
from onnxlift.compress.steps import Context, Step
from onnxlift.compress.steps.clean import Clean
from onnxlift.compress.steps.embeddings import Embeddings
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from onnxlift.compress.steps.smooth_quant import SmoothQuant
from onnxlift.compress.steps.weight_blocks import WeightBlocks
from onnxlift_runtime.errors import OnnxliftError
from onnxlift_runtime.session import processor_count

_SAMPLES: Final = 16
# A grid of 8 bits is 16 times as fine, its error 256 times as small; its blocks are wider.
_EIGHT_OF_FOUR: Final = 1 / 128
_FILE: Final = "sensitivity.json"
_ADAPTER: Final = TypeAdapter(tuple[NodeSensitivity, ...])


@dataclass(frozen=True)
class _Case:
    """One node at one precision: the step that brings it there, on the plain or the smoothed model."""

    node: str
    precision: str
    step: Step
    smoothed: bool = False


def rank(folder: Path, model: onnx.ModelProto, calibration: Samples, output: str) -> tuple[NodeSensitivity, ...]:
    """Bring one node after the other to int8 and 4 bits, and compare the first output on a few samples.

    The result is kept in ``folder``. Nodes carry the names they have after ``Clean``. Empty where a model cannot be
    taken apart like this.
    """
    path = folder / _FILE
    if path.exists():
        return _ADAPTER.validate_json(path.read_bytes())
    found = _rank(model, calibration, output)
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(_ADAPTER.dump_json(found))
    unfinished.replace(path)
    return found


def _rank(model: onnx.ModelProto, calibration: Samples, output: str) -> tuple[NodeSensitivity, ...]:
    try:
        plain = Clean().apply(model, Context())
        smoothed = _smoothed(plain, calibration)
    except Exception:  # what the steps cannot work on is told by the recipes that need them
        return ()
    cases = list(_cases(plain, smoothed is not None))
    runs = [{**feed} for feed in _runs(plain, calibration)]
    expected = _answers(plain, runs, output)

    def measure(case: _Case) -> float | None:
        try:
            start = smoothed if case.smoothed and smoothed is not None else plain
            changed = case.step.apply(start, Context())
            return _loss(expected, _answers(changed, runs, output))
        except Exception:  # one node that cannot be changed alone is only not known
            return None

    with ThreadPoolExecutor(processor_count()) as pool:
        losses = list(pool.map(measure, cases))
    errors: dict[str, list[PrecisionError]] = {}
    for case, loss in zip(cases, losses, strict=True):
        if loss is not None and np.isfinite(loss):
            errors.setdefault(case.node, []).append(PrecisionError(case.precision, loss))
            if case.precision == "4-bit":
                errors[case.node].append(PrecisionError("8-bit", loss * _EIGHT_OF_FOUR))
    graph = Graph(plain)
    return tuple(_described(graph, node, tuple(found)) for node, found in errors.items())


def _smoothed(model: onnx.ModelProto, calibration: Samples) -> onnx.ModelProto | None:
    few = calibration.limit(4 * _SAMPLES).arrays
    try:
        return SmoothQuant().apply(model, Context(few))
    except OnnxliftError:
        return None


def _cases(model: onnx.ModelProto, has_smoothed: bool) -> Iterator[_Case]:
    """Roundings to nearest, which need no samples."""
    graph = Graph(model)
    names = [item.name for item in graph.projections()]
    for name in names:
        others = tuple(other for other in names if other != name)
        if has_smoothed:
            yield _Case(name, INT8, MatMulInt8("nearest", exclude=others), smoothed=True)
        yield _Case(name, "4-bit", WeightBlocks(4, 32, symmetric=False, method="nearest", only=(name,)))
    lookups = [node.name for node in graph.nodes if node.op_type == "Gather"]
    for name in lookups:
        others = tuple(other for other in lookups if other != name)
        yield _Case(name, "4-bit", Embeddings(4, 32, symmetric=False, fit="nearest", exclude=others))


def _runs(model: onnx.ModelProto, calibration: Samples) -> Iterator[Mapping[str, np.ndarray]]:
    return feeds(model, calibration.limit(_SAMPLES).arrays)


def _answers(model: onnx.ModelProto, runs: Sequence[Mapping[str, np.ndarray]], output: str) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [session.run([output], dict(feed))[0] for feed in runs]


def _loss(expected: Sequence[np.ndarray], answers: Sequence[np.ndarray]) -> float:
    """Half the mean squared relative error, which is 1 - cosine for small changes of direction."""
    losses = []
    for first, second in zip(expected, answers, strict=True):
        before, after = (array.reshape(len(array), -1).astype(np.float64) for array in (first, second))
        size = np.maximum(np.square(before).sum(axis=1), np.finfo(float).tiny)
        losses += list(np.square(after - before).sum(axis=1) / size / 2)
    return float(np.mean(losses))


def _described(graph: Graph, name: str, errors: tuple[PrecisionError, ...]) -> NodeSensitivity:
    node = graph.node(name)
    position = 0 if node.op_type == "Gather" and attributes(node).get("axis", 0) == 0 else 1
    weight = graph.constant(node.input[position])
    size = 0 if weight is None else int(weight.nbytes)
    return NodeSensitivity(name, node.op_type, name.rpartition("/")[0] or name, size, errors)
