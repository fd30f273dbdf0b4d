"""A tensor as it travels, and every check that can be made before it becomes an array."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnxlift_runtime.errors import (
    DatatypeMismatch,
    InputMismatch,
    MalformedRequest,
    PayloadTooLarge,
    ShapeMismatch,
)
from onnxlift_runtime.manifest import Manifest, TensorSpec
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors.datatypes import datatype


@dataclass(frozen=True, slots=True)
class WireTensor:
    """One tensor of a request or an answer.

    ``data`` is a memoryview or bytes of the binary extension, or what JSON held: a list, nested or
    flat. In answers it may also be a numpy array, which the JSON writer takes as a list.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Any

    @property
    def binary(self) -> bool:
        """Whether ``data`` is raw bytes."""
        return isinstance(self.data, bytes | memoryview)

    @property
    def count(self) -> int:
        """The number of elements that ``shape`` announces."""
        return math.prod(self.shape)


def specs_by_name(manifest: Manifest) -> dict[str, TensorSpec]:
    """The model's inputs by name."""
    return {spec.name: spec for spec in manifest.inputs}


def check_names(names: Sequence[str], manifest: Manifest) -> None:
    """Every input exactly once and nothing else; raises ``InputMismatch``."""
    expected = [spec.name for spec in manifest.inputs]
    for name in names:
        if name not in expected:
            raise InputMismatch(
                f"model {manifest.name!r} has no input {name!r}; its inputs: {_listed(expected)}"
            )
        if names.count(name) > 1:
            raise InputMismatch(f"input {name!r} is given {names.count(name)} times, expected once")
    if missing := [name for name in expected if name not in names]:
        raise InputMismatch(
            f"input {missing[0]!r} is missing; model {manifest.name!r} takes: {_listed(expected)}"
        )


def check_input(tensor: WireTensor, spec: TensorSpec, manifest: Manifest, limits: Limits) -> None:
    """Datatype, shape, size and batch against the model, in Python integers and before any
    allocation.
    """
    if tensor.datatype != spec.datatype:
        raise DatatypeMismatch(
            f"input {tensor.name!r} has datatype {tensor.datatype}, the model takes {spec.datatype}"
        )
    if (
        len(tensor.shape) > limits.max_dimensions
    ):  # first, because even to print or multiply millions of them is work
        raise ShapeMismatch(
            f"input {tensor.name!r} has {len(tensor.shape)} dimensions, the model takes "
            f"{_shape(spec.shape)}"
        )
    fits = len(tensor.shape) == len(spec.shape) and all(
        want in (-1, got) for got, want in zip(tensor.shape, spec.shape, strict=True)
    )
    if not fits:
        raise ShapeMismatch(
            f"input {tensor.name!r} has shape {_shape(tensor.shape)}, the model takes "
            f"{_shape(spec.shape)}"
        )
    axis = manifest.batch_axis(tensor.name)
    if axis is not None and tensor.shape[axis] > manifest.max_batch_size:
        raise ShapeMismatch(
            f"input {tensor.name!r} has a batch of {tensor.shape[axis]}, the model takes at most "
            f"{manifest.max_batch_size}"
        )
    _check_size(tensor, limits)


def _check_size(tensor: WireTensor, limits: Limits) -> None:
    """Bytes within the limit, and raw bytes as many as the shape announces."""
    item_bytes = datatype(tensor.datatype).size_bytes
    size_bytes = tensor.count * (
        item_bytes or 4
    )  # BYTES: each element carries a length of four bytes
    if size_bytes > limits.max_tensor_bytes:
        raise PayloadTooLarge(
            f"input {tensor.name!r} with shape {_shape(tensor.shape)} takes {size_bytes} bytes, "
            f"at most {limits.max_tensor_bytes} are read"
        )
    if tensor.binary and item_bytes and len(tensor.data) != size_bytes:
        raise ShapeMismatch(
            f"input {tensor.name!r} has {len(tensor.data)} bytes of data, "
            f"shape {_shape(tensor.shape)} and datatype {tensor.datatype} need {size_bytes}"
        )


def check_batch(tensors: Iterable[WireTensor], manifest: Manifest) -> None:
    """The same number of rows in every input that has a batch."""
    batches = _batches({tensor.name: tensor.shape for tensor in tensors}, manifest)
    if len(set(batches.values())) > 1:
        told = ", ".join(f"{name!r} {size}" for name, size in batches.items())
        raise ShapeMismatch(
            f"the inputs have different batch sizes ({told}), expected the same for all"
        )


def count_rows(shapes: Mapping[str, Sequence[int]], manifest: Manifest) -> int:
    """The rows of a request, from the shapes of its inputs; 1 for a model without a batch."""
    return next(iter(_batches(shapes, manifest).values()), 1)


def _batches(shapes: Mapping[str, Sequence[int]], manifest: Manifest) -> dict[str, int]:
    axes = {name: manifest.batch_axis(name) for name in shapes}
    return {name: int(shapes[name][axis]) for name, axis in axes.items() if axis is not None}


def flatten(tensor: WireTensor) -> list[Any]:
    """The elements of JSON ``data`` in row-major order: taken flat, or nested exactly as ``shape``
    says.
    """
    items: list[Any] = tensor.data
    if len(items) == tensor.count and not (items and isinstance(items[0], list)):
        return items
    if not tensor.shape or len(items) != tensor.shape[0]:
        raise ShapeMismatch(_uneven(tensor))
    for size in tensor.shape[1:]:
        if not all(type(item) is list and len(item) == size for item in items):
            raise ShapeMismatch(_uneven(tensor))
        items = [value for item in items for value in item]
    return items


def nested_shape(value: Any) -> tuple[int, ...]:
    """The shape of nested lists, read along the first elements; an empty list ends it."""
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def expect(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """``value`` itself where it is of ``kind``; a JSON boolean is no number. Raises
    ``MalformedRequest``.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds):
        return value
    expected = " or ".join(_JSON_WORDS[item] for item in kinds)
    raise MalformedRequest(f"{what} is {_JSON_WORDS.get(type(value), 'null')}, expected {expected}")


def expect_mapping(value: Any, what: str) -> Mapping[str, Any]:
    """``value`` itself where it is a JSON object."""
    mapping: Mapping[str, Any] = expect(value, dict, what)
    return mapping


def optional(document: Mapping[str, Any], key: str, default: Any) -> Any:
    """A member that may be left out; clients made from typed models write such members as
    ``null``.
    """
    value = document.get(key)
    return default if value is None else value


_JSON_WORDS = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"


def _shape(shape: Iterable[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _uneven(tensor: WireTensor) -> str:
    return (
        f"input {tensor.name!r} has data that is not {tensor.count} elements, flat or nested as "
        f"its shape {_shape(tensor.shape)} says"
    )
