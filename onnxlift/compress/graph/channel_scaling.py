"""Give some readers of a value its channels shifted and scaled: before it where exact, else by
nodes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import onnx

from onnxlift.compress.graph.editing import Graph, Projection, attributes

_Edit: TypeAlias = Callable[[], object]
_HOMOGENEOUS: Final = frozenset({"Relu", "LeakyRelu"})


@dataclass(frozen=True)
class _Move:
    """``(value - shift) * factor`` for each channel of the last axis."""

    factor: np.ndarray
    shift: np.ndarray


def move_channels(
    graph: Graph, value: str, readers: Sequence[Projection], factor: np.ndarray, shift: np.ndarray
) -> None:
    """Let ``readers`` see ``(value - shift) * factor`` [channels, factors positive]; others see
    what they saw.
    """
    names = {reader.name for reader in readers}
    move = _Move(factor, shift)
    consumers = {node.name for node in graph.consumers.get(value, [])}
    alone = consumers == names and value not in graph.outputs
    # Edits are collected first and made last, so that a fold that fails halfway changes nothing.
    edits = _fold(graph, value, move) if alone else None
    if edits is None:
        _insert(graph, value, names, move, readers[0].weight.dtype)
        return
    for edit in edits:
        edit()


def _insert(graph: Graph, value: str, names: set[str], move: _Move, kind: np.dtype) -> None:
    moved = graph.fresh(f"{value}/smooth")
    graph.rewire(value, moved, [node for node in graph.consumers[value] if node.name in names])
    factor = graph.add_constant(f"{moved}/factor", move.factor.astype(kind))
    if not move.shift.any():
        graph.add_node("Mul", [value, factor], [moved])
    else:
        scaled = graph.fresh(f"{moved}/scaled")
        offset = graph.add_constant(f"{moved}/offset", (-move.shift * move.factor).astype(kind))
        graph.add_node("Mul", [value, factor], [scaled])
        graph.add_node("Add", [scaled, offset], [moved])
    graph.reindex()


def _fold(graph: Graph, value: str, move: _Move) -> list[_Edit] | None:
    """The edits that move ``value`` at its source, or None where its source cannot take the move
    exactly.
    """
    node = graph.producers.get(value)
    if node is None:
        return None
    match node.op_type:
        case "LayerNormalization" if len(node.input) == 3 and _is_over_last_axis(node):
            scaled = _Move(move.factor, move.shift * 0)
            return [_edit(graph, node, 1, scaled), _edit(graph, node, 2, move)]
        case "Reshape":
            return _fold_attention(graph, node, move)
        case "Add":
            return _fold_bias(graph, node, move)
        case operator if operator in _HOMOGENEOUS and not move.shift.any():
            return _fold_source(graph, node.input[0], move)
        case _:
            return _fold_projection(graph, node, move)


def _is_over_last_axis(node: onnx.NodeProto) -> bool:
    return bool(attributes(node).get("axis", -1) == -1)


def _fold_source(graph: Graph, value: str, move: _Move) -> list[_Edit] | None:
    sole = len(graph.consumers.get(value, [])) == 1 and value not in graph.outputs
    return _fold(graph, value, move) if sole else None


def _fold_bias(graph: Graph, node: onnx.NodeProto, move: _Move) -> list[_Edit] | None:
    """A shift is taken by the bias alone, so what comes before it is only scaled."""
    for position in (0, 1):
        array = graph.constant(node.input[position])
        if array is not None and array.shape == move.factor.shape:
            edits = _fold_source(
                graph, node.input[1 - position], _Move(move.factor, move.shift * 0)
            )
            return None if edits is None else [*edits, _edit(graph, node, position, move)]
    return None


def _fold_projection(graph: Graph, node: onnx.NodeProto, move: _Move) -> list[_Edit] | None:
    projection = next((item for item in graph.projections() if item.name == node.name), None)
    if projection is None or projection.weight.shape[1] != len(move.factor):
        return None
    edits: list[_Edit] = [lambda: graph.set_weight(projection, projection.weight * move.factor)]
    if projection.bias_name is None:
        return None if move.shift.any() else edits
    bias = graph.constant(projection.bias_name)
    if bias is None or bias.shape != move.factor.shape:
        return None
    return [*edits, _edit(graph, node, 2, move)]


def _fold_attention(graph: Graph, merge: onnx.NodeProto, move: _Move) -> list[_Edit] | None:
    """Heads merged after ``softmax @ values`` keep their channels, so the move belongs to the value
    projection.

    [batch, tokens, heads, size] → transposed (0 2 1 3) → mixed over tokens only, with shares that
    sum to 1, so a shift passes through as well → transposed back → merged.
    """
    outer = _chain(graph, merge.input[0], ("Transpose", "MatMul"))
    if outer is None or not _swaps_heads(outer[0]):
        return None
    shares = graph.producers.get(outer[1].input[0])
    inner = _chain(graph, outer[1].input[1], ("Transpose", "Reshape"))
    if shares is None or shares.op_type != "Softmax" or inner is None or not _swaps_heads(inner[0]):
        return None
    shape = graph.constant(inner[1].input[1])
    if shape is None or len(shape) != 4 or shape[2] * shape[3] != len(move.factor):
        return None
    return _fold_source(graph, inner[1].input[0], move)


def _chain(graph: Graph, value: str, operators: tuple[str, ...]) -> list[onnx.NodeProto] | None:
    """The producers of ``value`` and of their first inputs when they are these operators and serve
    nobody else.
    """
    found: list[onnx.NodeProto] = []
    for operator in operators:
        node = graph.producers.get(value)
        if node is None or node.op_type != operator or len(graph.consumers[value]) != 1:
            return None
        found.append(node)
        value = node.input[0]
    return found


def _swaps_heads(node: onnx.NodeProto) -> bool:
    return list(attributes(node).get("perm", ())) == [0, 2, 1, 3]


def _edit(graph: Graph, node: onnx.NodeProto, position: int, move: _Move) -> _Edit:
    """Move the constant that ``node`` reads at ``position``."""

    def edit() -> None:
        array = graph.constant(node.input[position])
        assert array is not None
        moved = ((array - move.shift) * move.factor).astype(array.dtype)
        graph.set_constant(node.input[position], moved, [node])

    return edit
