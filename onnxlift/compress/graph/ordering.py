"""The order of a graph's nodes: each after those whose values it reads."""

from collections.abc import Iterable, Iterator, Sequence

import onnx


def in_topological_order(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Keep the given order wherever it is already right (depth first from each node)."""
    producers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    done: set[int] = set()
    ordered: list[onnx.NodeProto] = []
    for start in range(len(nodes)):
        # An entry is met twice: before the nodes it needs, and ready once they are in order.
        stack = [(start, False)]
        while stack:
            index, ready = stack.pop()
            if ready:
                ordered.append(nodes[index])
            elif index not in done:
                done.add(index)
                stack.append((index, True))
                needed = [producers[name] for name in _reads([nodes[index]]) if name in producers]
                stack.extend((other, False) for other in reversed(needed) if other not in done)
    return ordered


def read_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Every value name that a node of the graph or of a graph inside it reads."""
    return _reads(graph.node)


def _reads(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield from node.input
        for item in node.attribute:
            for inner in [item.g, *item.graphs]:
                yield from _reads(inner.node)
                # An inner graph may hand out a value of the outer one as it is.
                yield from (value.name for value in inner.output)
