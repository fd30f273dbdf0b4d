"""What each node of a model loses when it alone is compressed: measured once, kept with the
search.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from pydantic import TypeAdapter

from onnxlift.compress.calibration.activations import feeds
from onnxlift.compress.calibration.moments import Moments
from onnxlift.compress.graph.editing import Graph, Projection, attributes
from onnxlift.compress.model.samples import Samples
from onnxlift.compress.recipes.prefixes import Beginning, begin
from onnxlift.compress.recipes.recipe import Recipe
from onnxlift.compress.results import NodeSensitivity, PrecisionError
from onnxlift.compress.search.what_if import Overrides
from onnxlift.compress.search.workspace import Workspace
from onnxlift.compress.steps import Context, Step
from onnxlift.compress.steps.clean import Clean
from onnxlift.compress.steps.embeddings import Embeddings
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from onnxlift.compress.steps.smooth_quant import SmoothQuant
from onnxlift.compress.steps.weight_blocks import WeightBlocks
from onnxlift_runtime.dataplane.session import processor_count

_SAMPLES: Final = 12
_MOST_SAMPLES: Final = 16
_FILE: Final = "sensitivity.json"
_ADAPTER: Final = TypeAdapter(tuple[NodeSensitivity, ...])
# What nodes are looked at in.
_BLOCKS: Final = (WeightBlocks(8), WeightBlocks(4, 32, symmetric=False))
_TABLES: Final = (Embeddings(8), Embeddings(4, 32, symmetric=False))
_INT8: Final = MatMulInt8()


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
    workspace: Workspace,
    model: onnx.ModelProto,
    calibration: Samples,
    output: str,
    rows: int,
    int8: Step,
) -> tuple[NodeSensitivity, ...]:
    """Bring one node after the other to int8, 8 and 4 bits, and compare the judged output on a few
    samples.

    ``int8`` says how int8 weights are rounded; they are looked at ``rows`` samples at a time, which
    share a range of activations. The result is kept in the workspace. Nodes carry the names they
    have after ``Clean``. Empty where a model cannot be taken apart like this.
    """
    path = workspace.folder / _FILE
    if path.exists():
        return _ADAPTER.validate_json(path.read_bytes())
    found = _rank(workspace.beginnings, model, _Look(calibration, output, rows, int8))
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(_ADAPTER.dump_json(found))
    unfinished.replace(path)
    return found


def int8_step(recipes: Sequence[Recipe]) -> Step:
    """How most of the recipes round int8 weights: as the first that does it by samples."""
    steps = (step for item in recipes for step in item.steps)
    alike = (step for step in steps if step.precision == _INT8.precision)
    return next((step for step in alike if step.needs_samples), _INT8)


@dataclass(frozen=True)
class _Look:
    """What nodes are looked at by."""

    calibration: Samples
    output: str
    rows: int
    int8: Step


def _rank(folder: Path, model: onnx.ModelProto, look: _Look) -> tuple[NodeSensitivity, ...]:
    context = Context(look.calibration.columns)
    with ThreadPoolExecutor(processor_count()) as pool:
        try:
            plain = begin(folder, model, (Clean(),), context)
            cases = _plain_cases(plain, look)
        except Exception:  # what the steps cannot work on is told by the recipes that need them
            return ()
        losses = [pool.submit(case.loss) for case in cases]
        try:
            smooth = _smooth_cases(begin(folder, model, (Clean(), SmoothQuant()), context), look)
        except Exception:  # as above; blocks can be looked at without it
            smooth = []
        losses += [pool.submit(case.loss) for case in smooth]
    errors: dict[str, list[PrecisionError]] = {}
    for case, loss in zip(cases + smooth, (item.result() for item in losses), strict=True):
        if loss is not None:
            errors.setdefault(case.node, []).append(PrecisionError(case.precision, loss))
    graph = Graph(plain.model)
    return tuple(_described(graph, node, tuple(found)) for node, found in errors.items())


def _plain_cases(begun: Beginning, look: _Look) -> list[_Case]:
    """Every projection in 8-bit and 4-bit blocks, every table in 8 and 4 bits."""
    graph, context = Graph(begun.model), begun.context
    projections = list(graph.projections())
    tables = [node.name for node in graph.nodes if _TABLES[0].suits(graph, node)]
    names = [*(item.name for item in projections), *tables]
    session = Overrides(begun.model, names, list(_feeds(begun, look, None)), look.output)
    expected = session.answers()
    moments = _moments(begun, projections, int8_noise=False)

    cases = [(name, step) for name in names for step in (_TABLES if name in tables else _BLOCKS)]
    return [
        _Case(
            name,
            step.precision,
            partial(step.restored, graph, name, moments, context.cache),
            session,
            expected,
        )
        for name, step in cases
    ]


def _smooth_cases(begun: Beginning, look: _Look) -> list[_Case]:
    """Every projection in int8, its input rounded too, after activations were smoothed."""
    graph = Graph(begun.model)
    projections = list(graph.projections())
    runs = list(_feeds(begun, look, look.rows))
    session = Overrides(
        begun.model, [item.name for item in projections], runs, look.output, rounded=True
    )
    expected = session.answers()
    moments = _moments(begun, projections, int8_noise=True)

    return [
        _Case(
            item.name,
            look.int8.precision,
            partial(look.int8.restored, graph, item.name, moments, begun.context.cache),
            session,
            expected,
        )
        for item in projections
    ]


def _feeds(begun: Beginning, look: _Look, rows: int | None) -> Iterator[dict[str, np.ndarray]]:
    count = max(_SAMPLES, min(rows or 0, _MOST_SAMPLES))
    return feeds(begun.model, look.calibration.limit(count).columns, rows)


def _moments(begun: Beginning, projections: Sequence[Projection], *, int8_noise: bool) -> Moments:
    values = tuple(dict.fromkeys(item.input for item in projections))
    return Moments(begun.model, values, begun.context.samples, int8_noise=int8_noise)


def _loss(expected: Sequence[np.ndarray], answers: Sequence[np.ndarray]) -> float:
    """Half the mean squared relative error, which is 1 - cosine for small changes of direction."""
    losses = []
    for first, second in zip(expected, answers, strict=True):
        if first.shape != second.shape:  # values decide how many rows come out
            losses.append(1.0)
            continue
        rows = len(first) if first.ndim else 1
        before, after = (array.reshape(rows, -1).astype(np.float64) for array in (first, second))
        size = np.maximum(np.square(before).sum(axis=1), np.finfo(float).tiny)
        losses += list(np.square(after - before).sum(axis=1) / size / 2)
    return float(np.mean(losses))


def _described(graph: Graph, name: str, errors: tuple[PrecisionError, ...]) -> NodeSensitivity:
    node = graph.node(name)
    position = 0 if node.op_type == "Gather" and attributes(node).get("axis", 0) == 0 else 1
    weight = graph.constant(node.input[position])
    size = 0 if weight is None else int(weight.nbytes)
    return NodeSensitivity(name, node.op_type, name.rpartition("/")[0] or name, size, errors)
