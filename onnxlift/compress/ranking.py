"""What each node of a model loses when it alone is compressed: measured once, kept with the search."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from pydantic import TypeAdapter

from onnxlift.compress.activations import feeds, second_moments
from onnxlift.compress.graph import Graph, Projection, attributes
from onnxlift.compress.overrides import Overrides
from onnxlift.compress.prediction import INT8
from onnxlift.compress.report import NodeSensitivity, PrecisionError
from onnxlift.compress.rounding import compensation
from onnxlift.compress.samples import Samples
from onnxlift.compress.shared import begin
from onnxlift.compress.steps import Context
from onnxlift.compress.steps.clean import Clean
from onnxlift.compress.steps.embeddings import Embeddings
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from onnxlift.compress.steps.smooth_quant import SmoothQuant
from onnxlift.compress.steps.weight_blocks import WeightBlocks
from onnxlift.compress.workspace import Workspace
from onnxlift_runtime.session import processor_count

_SAMPLES: Final = 12
_MOMENT_SAMPLES: Final = 64
_FILE: Final = "sensitivity.json"
_ADAPTER: Final = TypeAdapter(tuple[NodeSensitivity, ...])
_BLOCKS: Final = {"8-bit": WeightBlocks(8), "4-bit": WeightBlocks(4, 32, symmetric=False)}
_TABLES: Final = {"8-bit": Embeddings(8), "4-bit": Embeddings(4, 32, symmetric=False)}


@dataclass(frozen=True)
class _Case:
    """One node at one precision: how to make the weight it then has, and where to try it."""

    node: str
    precision: str
    weight: Callable[[], np.ndarray]
    session: Overrides
    expected: Sequence[np.ndarray]

    def loss(self) -> float | None:
        """What is lost; None where this node cannot be changed alone."""
        try:
            found = _loss(self.expected, self.session.answers(self.node, self.weight()))
        except Exception:  # one node that cannot be changed alone is only not known
            return None
        return found if np.isfinite(found) else None


def rank(
    workspace: Workspace, model: onnx.ModelProto, calibration: Samples, output: str
) -> tuple[NodeSensitivity, ...]:
    """Bring one node after the other to int8, 8 and 4 bits, and compare the first output on a few samples.

    The result is kept in the workspace. Nodes carry the names they have after ``Clean``. Empty where a model cannot be
    taken apart like this.
    """
    path = workspace.folder / _FILE
    if path.exists():
        return _ADAPTER.validate_json(path.read_bytes())
    found = _rank(workspace.beginnings, model, calibration, output)
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(_ADAPTER.dump_json(found))
    unfinished.replace(path)
    return found


def _rank(folder: Path, model: onnx.ModelProto, calibration: Samples, output: str) -> tuple[NodeSensitivity, ...]:
    context = Context(calibration.arrays)
    try:
        plain, _ = begin(folder, model, (Clean(),), context)
        cases = [*_plain_cases(plain, calibration, output), *_smooth_cases(folder, model, calibration, output)]
    except Exception:  # what the steps cannot work on is told by the recipes that need them
        return ()
    with ThreadPoolExecutor(processor_count()) as pool:
        losses = list(pool.map(_Case.loss, cases))
    errors: dict[str, list[PrecisionError]] = {}
    for case, loss in zip(cases, losses, strict=True):
        if loss is not None:
            errors.setdefault(case.node, []).append(PrecisionError(case.precision, loss))
    graph = Graph(plain)
    return tuple(_described(graph, node, tuple(found)) for node, found in errors.items())


def _plain_cases(model: onnx.ModelProto, calibration: Samples, output: str) -> list[_Case]:
    """Every projection in 8-bit and 4-bit blocks, every table in 8 and 4 bits."""
    graph = Graph(model)
    projections = list(graph.projections())
    lookups = [node for node in graph.nodes if _TABLES["8-bit"].suits(graph, node)]
    names = [*(item.name for item in projections), *(node.name for node in lookups)]
    runs = list(feeds(model, calibration.limit(_SAMPLES).arrays))
    session = Overrides(model, names, runs, output)
    expected = session.answers()
    moments, factors = _statistics(model, projections, calibration)

    def in_blocks(item: Projection, step: WeightBlocks) -> np.ndarray:
        restored = step.quantize(item.weight, moments[item.input], factors[item.input]).restore()
        return _as_stored(item, restored[:, : len(item.weight)].T)

    def table(node: onnx.NodeProto, step: Embeddings) -> np.ndarray:
        array = graph.constant(node.input[0])
        assert array is not None
        return step.quantize(array)[0].restore()[:, : array.shape[1]]

    cases = [
        _Case(item.name, precision, lambda item=item, step=step: in_blocks(item, step), session, expected)  # type: ignore[misc]
        for item in projections
        for precision, step in _BLOCKS.items()
    ]
    return cases + [
        _Case(node.name, precision, lambda node=node, step=step: table(node, step), session, expected)  # type: ignore[misc]
        for node in lookups
        for precision, step in _TABLES.items()
    ]


def _smooth_cases(folder: Path, model: onnx.ModelProto, calibration: Samples, output: str) -> list[_Case]:
    """Every projection in int8, its input rounded too, after activations were smoothed."""
    try:
        smoothed, _ = begin(folder, model, (Clean(), SmoothQuant()), Context(calibration.arrays))
        projections = list(Graph(smoothed).projections())
        runs = list(feeds(smoothed, calibration.limit(_SAMPLES).arrays))
        session = Overrides(smoothed, [item.name for item in projections], runs, output, rounded=True)
        expected = session.answers()
        moments, factors = _statistics(smoothed, projections, calibration)
    except Exception:  # as above; blocks can be looked at without it
        return []

    def in_int8(item: Projection) -> np.ndarray:
        whole, scale = MatMulInt8().quantize(item.weight, moments[item.input], factors[item.input])
        return _as_stored(item, whole.astype(np.float32) * scale)

    return [
        _Case(item.name, INT8, lambda item=item: in_int8(item), session, expected)  # type: ignore[misc]
        for item in projections
    ]


def _statistics(
    model: onnx.ModelProto, projections: Sequence[Projection], calibration: Samples
) -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]:
    """The second moment of each projection's input, and its ``compensation``."""
    names = tuple(dict.fromkeys(item.input for item in projections))
    moments = second_moments(model, names, calibration.limit(_MOMENT_SAMPLES).arrays) if names else {}
    return moments, {name: compensation(moment) for name, moment in moments.items()}


def _as_stored(item: Projection, weight: np.ndarray) -> np.ndarray:
    return weight.T if item.transposed else weight


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
