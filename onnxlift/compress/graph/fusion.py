"""Attention as one node: onnxruntime's MultiHeadAttention in place of the dozen nodes that
exporters write for it.

``softmax(query @ key.T * scale + mask) @ value`` with the heads split before and merged after it.
The kernel does the same sums in the same order, so the answers stay the same bits; it saves the
copies that turn heads around, and every node less opens the session a tenth of a millisecond
sooner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import onnx
from onnx import TensorProto

from onnxlift.compress.graph.editing import MICROSOFT, Graph, attributes

_SPLIT: Final = (0, 2, 1, 3)
_SPLIT_KEY: Final = (0, 2, 3, 1)
_TURN: Final = (0, 1, 3, 2)
# What an exporter adds to scores that must not count: at least this far below.
_FAR_BELOW: Final = -1e4
# Rows of a table in few bits have float16 scales and are cast to float32 before anything is
# computed with them.
_LOOKUP: Final = "GatherBlockQuantized"


@dataclass(frozen=True)
class _Heads:
    """One of query, key and value before its heads were split: [batch, tokens, count * size]."""

    value: str
    count: int
    size: int


@dataclass(frozen=True)
class _Mask:
    """Which tokens count, [batch, tokens] of ones and zeros, and what is added to the scores of the
    others.
    """

    value: str
    below: float


@dataclass(frozen=True)
class _Attention:
    query: _Heads
    key: _Heads
    value: _Heads
    scale: float
    mask: _Mask
    output: str


def merge_attention(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose masked float32 self-attention is one node each; what is written
    otherwise stays.
    """
    graph = Graph(model)
    if _is_foreign(graph):
        return model
    found = [
        item for node in graph.nodes if node.op_type == "Softmax" and (item := _match(graph, node))
    ]
    masks: dict[str, str] = {}
    for item in found:
        _replace(graph, item, masks)
    return _without_unread(graph) if found else model


def _is_foreign(graph: Graph) -> bool:
    """The kernel knows float32 alone, and graphs inside nodes may read what would be taken away."""
    halves = frozenset(
        tensor.name
        for tensor in graph.model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT16
    )
    return any(_holds_graph(node) or _computes_with(node, halves) for node in graph.nodes)


def _holds_graph(node: onnx.NodeProto) -> bool:
    return any(item.HasField("g") or item.graphs for item in node.attribute)


def _computes_with(node: onnx.NodeProto, names: frozenset[str]) -> bool:
    return node.op_type != _LOOKUP and not names.isdisjoint(node.input)


def _match(graph: Graph, softmax: onnx.NodeProto) -> _Attention | None:
    """The attention around a Softmax over the keys, where all around it is as expected."""
    mix = _sole_reader(graph, softmax, "MatMul")
    over_keys = attributes(softmax).get("axis", -1) in (-1, 3)
    if mix is None or mix.input[0] != softmax.output[0] or not over_keys:
        return None
    back = _sole_reader(graph, mix, "Transpose")
    if back is None or not _turns(back, _SPLIT):
        return None
    merge = _sole_reader(graph, back, "Reshape")
    masked = _made_by(graph, softmax.input[0], "Add")
    if merge is None or masked is None:
        return None
    value = _heads(graph, mix.input[1], _SPLIT)
    for scores, mask in (masked.input, reversed(masked.input)):
        product, scale = _scaled(graph, scores)
        known = _mask(graph, mask)
        if product is None or known is None:
            continue
        query, key = _heads(graph, product.input[0], _SPLIT), _key(graph, product.input[1])
        if query and key and value and _merges(graph, merge, query) and _alike(query, key, value):
            return _Attention(query, key, value, scale, known, merge.output[0])
    return None


def _scaled(graph: Graph, scores: str) -> tuple[onnx.NodeProto | None, float]:
    """The product of query and key behind ``scores``, and the number it is multiplied with."""
    node = graph.producers.get(scores)
    if node is None or node.op_type == "MatMul":
        return node, 1.0
    factor = _factor(graph, node)
    if factor is None:
        return None, 1.0
    product = _made_by(graph, node.input[0], "MatMul")
    return product, 1.0 if product is None else factor


def _factor(graph: Graph, node: onnx.NodeProto) -> float | None:
    """The number by which a Mul or Div multiplies its first input; None for any other node."""
    if node.op_type not in ("Mul", "Div"):
        return None
    number = _number(graph, node.input[1])
    return 1 / number if number is not None and node.op_type == "Div" else number


def _key(graph: Graph, value: str) -> _Heads | None:
    """Key heads come turned at once, or split like the others and then turned."""
    split = _before_turn(graph, value, _TURN)
    if split is not None:
        return _heads(graph, split, _SPLIT)
    return _heads(graph, value, _SPLIT_KEY)


def _heads(graph: Graph, value: str, order: tuple[int, ...]) -> _Heads | None:
    whole = _before_turn(graph, value, order)
    split = None if whole is None else _made_by(graph, whole, "Reshape")
    if split is None:
        return None
    tail = _shape_tail(graph, split.input[1], 4, 2)
    return _Heads(split.input[0], *tail) if tail is not None and min(tail) > 0 else None


def _before_turn(graph: Graph, value: str, order: tuple[int, ...]) -> str | None:
    """What a Transpose of this order made the value of."""
    node = _made_by(graph, value, "Transpose")
    return str(node.input[0]) if node is not None and _turns(node, order) else None


def _made_by(graph: Graph, value: str, operator: str) -> onnx.NodeProto | None:
    """The node that made the value, where it is one of this operator."""
    node = graph.producers.get(value)
    return node if node is not None and node.op_type == operator else None


def _merges(graph: Graph, merge: onnx.NodeProto, heads: _Heads) -> bool:
    tail = _shape_tail(graph, merge.input[1], 3, 1)
    return tail is not None and tail[0] in (-1, heads.count * heads.size)


def _alike(query: _Heads, key: _Heads, value: _Heads) -> bool:
    return (query.count, query.size) == (key.count, key.size) == (value.count, value.size)


def _shape_tail(graph: Graph, name: str, length: int, count: int) -> tuple[int, ...] | None:
    """The last ``count`` numbers of a shape of ``length``; None where one of them is computed."""
    numbers = _shape_numbers(graph, name)
    tail = [int(number) for number in numbers[-count:] if number is not None]
    return tuple(tail) if len(numbers) == length and len(tail) == count else None


def _shape_numbers(graph: Graph, name: str) -> Sequence[float | None]:
    """The numbers of a constant shape, or of one that a Concat puts together."""
    shape, node = graph.constant(name), graph.producers.get(name)
    if shape is not None:
        return shape.ravel().tolist()  # type: ignore[no-any-return]
    if node is None or node.op_type != "Concat":
        return ()
    return [_number(graph, item) for item in node.input]


def _number(graph: Graph, name: str) -> float | None:
    """The one number of a constant; None for what is computed or has more."""
    array = graph.constant(name)
    return array.item() if array is not None and array.size == 1 else None


def _mask(graph: Graph, value: str) -> _Mask | None:
    """``(1 - mask) * far below``, as BERT and its kin write it, with ``mask`` [batch, tokens]
    spread over heads.
    """
    value, outer = _unspread(graph, value)
    absent, below = _times_number(graph, value)
    if absent is None or absent.op_type != "Sub" or below > _FAR_BELOW:
        return None
    if _number(graph, absent.input[0]) != 1:
        return None
    source, inner = _unspread(graph, absent.input[1])
    flat = any(
        item.name == source and len(item.type.tensor_type.shape.dim) == 2
        for item in graph.model.graph.input
    )
    return _Mask(source, below) if flat and sorted(inner + outer) == [1, 2] else None


def _times_number(graph: Graph, value: str) -> tuple[onnx.NodeProto | None, float]:
    """What made the value that a Mul multiplies with one number, and that number."""
    node = _made_by(graph, value, "Mul")
    if node is None:
        return None, 1.0
    for factor, other in (node.input, reversed(node.input)):
        number = _number(graph, factor)
        if number is not None:
            return graph.producers.get(other), float(number)
    return None, 1.0


def _unspread(graph: Graph, value: str) -> tuple[str, list[int]]:
    """What casts and ``Unsqueeze`` made ``value`` of, and the axes they inserted."""
    axes: list[int] = []
    while (node := graph.producers.get(value)) is not None and node.op_type in (
        "Cast",
        "Unsqueeze",
    ):
        if node.op_type == "Unsqueeze":
            found = graph.constant(node.input[1]) if len(node.input) > 1 else None
            axes += [] if found is None else found.tolist()
        value = node.input[0]
    return value, axes


def _sole_reader(graph: Graph, node: onnx.NodeProto, operator: str) -> onnx.NodeProto | None:
    readers = graph.consumers.get(node.output[0], [])
    only = len(readers) == 1 and node.output[0] not in graph.outputs
    return readers[0] if only and readers[0].op_type == operator else None


def _turns(node: onnx.NodeProto, order: tuple[int, ...]) -> bool:
    return tuple(attributes(node).get("perm", ())) == order


def _replace(graph: Graph, item: _Attention, masks: dict[str, str]) -> None:
    if item.mask.value not in masks:
        masks[item.mask.value] = graph.fresh(f"{item.mask.value}/int32")
        graph.add_node("Cast", [item.mask.value], [masks[item.mask.value]], to=TensorProto.INT32)
    graph.remove_node(graph.producers[item.output].name)
    inputs = [item.query.value, item.key.value, item.value.value, "", masks[item.mask.value]]
    graph.add_node(
        "MultiHeadAttention",
        inputs,
        [item.output],
        domain=MICROSOFT,
        num_heads=item.query.count,
        scale=item.scale,
        mask_filter_value=item.mask.below,
    )
    graph.reindex()


def _without_unread(graph: Graph) -> onnx.ModelProto:
    """The model without the nodes whose values nobody reads any more."""
    while unread := [node.name for node in graph.nodes if not _is_read(graph, node)]:
        for name in unread:
            graph.remove_node(name)
    return graph.finish()


def _is_read(graph: Graph, node: onnx.NodeProto) -> bool:
    return any(name in graph.consumers or name in graph.outputs for name in node.output)
